"""A problem as one object, which is handed to whoever needs it."""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipelines.base.errors import UserError
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.core.tasks.task import Task

# The module of each part. Whoever reads `problem.features` depends on features.py, and not on the others:
# local/imports.py takes the part for an import of the file.
PARTS = dict.fromkeys(("contract", "name", "task"), "columns")
PARTS |= {name: name for name in ("source", "features", "estimators", "rules")}


@dataclass(frozen=True)
class Problem:
    """The problem in the modules of `package`; each is imported when its part is asked for. So the service,
    which has no pandas, reads the contract alone, and a mistake in one file harms only what reads it."""

    package: str

    @property
    def contract(self) -> Contract:
        """The columns. UserError where they are no Contract."""
        found = self._module("columns").CONTRACT
        if not isinstance(found, Contract):
            where = f"{self.package.replace('.', '/')}/columns.py"
            raise UserError(f"{where}: CONTRACT is a {type(found).__name__}, but must be a Contract")
        return found

    @property
    def name(self) -> str:
        """Of the model, the Bento and the registry."""
        return self.contract.name

    @property
    def task(self) -> Task:
        """The kind of answer."""
        return tasks.of(self.contract)

    @property
    def source(self) -> Any:
        """The module with months() and read(month)."""
        return self._module("source")

    @property
    def features(self) -> Any:
        """The module with build(raw) and, where it looks back, HISTORY_DAYS."""
        return self._module("features")

    @property
    def estimators(self) -> dict[str, Any]:
        """The functions that params.yaml may name."""
        return cast(dict[str, Any], self._module("estimators").ESTIMATORS)

    @property
    def rules(self) -> Any:
        """The module with the team's own rules of the gate; None where there is none."""
        return self._module("rules") if importlib.util.find_spec(f"{self.package}.rules") else None

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(str(importlib.import_module(self.package).__file__)).parent

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")

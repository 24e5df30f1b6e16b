"""A host: the machine that holds environments. Its folders, ports and tools, as host.json tells."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.artifacts.host import Outputs
from pipelines.base import machine
from pipelines.base.errors import UserError
from pipelines.edge.edge import Edge
from pipelines.host.slots.slot import Slot
from pipelines.host.supervisor import Supervisor

COLOURS = ("blue", "green")


class Host(Outputs):
    """One environment on this machine, as Terraform's outputs describe it, for one of its models."""

    model: str = Field(default="", exclude=True)  # whose slots, journal and lock this is about

    @classmethod
    def load(cls, environment: str, model: str, at: Path | None = None) -> "Host":
        """Read host.json. UserError where `ml infra up` has not made this environment for this model."""
        folder, way_out = (at or machine.home()) / environment, f"run `ml infra up --env {environment}`"
        here = False
        host = cls.found(folder)
        if host is None:
            raise UserError(f"no host for {environment} ({folder / cls.NAME}): {way_out}")
        with contextlib.suppress(OSError):  # it is not there, or another user's
            here = host.folder.samefile(folder)
        if not here:
            moved = f"{folder / cls.NAME} is about {host.folder}, from where it was moved"
            raise UserError(f"{moved}: move it back, or {way_out}")
        if model not in host.ports_of:
            known = ", ".join(host.ports_of)
            raise UserError(f"{environment} serves {known} here, not yet {model}: {way_out}")
        return host.of(model)

    @classmethod
    def told(cls, value: str | Mapping[str, Any], model: str = "") -> "Host":
        """From Terraform's output `host`, of its first model where none is named."""
        host = cls.parse(value, "Terraform's output `host`", "run `ml infra up` again")
        return host.of(model or host.models[0].name)

    def of(self, model: str) -> "Host":
        """The same environment for another of its models."""
        return self.model_copy(update={"model": model})

    @property
    def each(self) -> list["Host"]:
        """The environment once for each model."""
        return [self.of(model) for model in self.ports_of]

    def slot(self, colour: str) -> Slot:
        """One of the model's two slots."""
        return Slot(
            self.model,
            colour,
            self.ports_of[self.model][colour],
            self.place / "slots" / colour,
            predictions=self.predictions,
            environments=self.home / "venvs",
            supervised=self.folder / "supervisor",
            supervisor=self.supervisor,
        )

    @property
    def slots(self) -> list[Slot]:
        return [self.slot(colour) for colour in COLOURS]

    @property
    def place(self) -> Path:
        """What is the model's own: journal, lock, slots, predictions."""
        return place(self.home, self.environment, self.model)

    @property
    def predictions(self) -> Path:
        return self.place / "predictions"

    @property
    def drift(self) -> Path:
        """The drift checks that were made here, a folder for each period."""
        return self.place / "drift"

    @property
    def edge(self) -> Edge:
        return Edge(self.folder / "edge", self.edge_url, self.admin_url, self.ports_of, self.model)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.socket)

    @property
    def ports_of(self) -> dict[str, dict[str, int]]:
        """The port of each colour, by model; the first also answers at the edge's top."""
        return {model.name: model.model_dump(exclude={"name"}) for model in self.models}

    @property
    def ports(self) -> dict[str, int]:
        """Every port of this environment, by what it is for."""
        edge, admin = (int(url.rpartition(":")[2]) for url in (self.edge_url, self.admin_url))
        slots = {f"{slot} of {name}": port for name, of in self.ports_of.items() for slot, port in of.items()}
        return {"edge": edge, "admin": admin, **slots}

    @property
    def mark(self) -> str:
        """What the processes of this environment carry, its slots aside (each has a mark of its own)."""
        return str(self.folder)


def place(home: Path, environment: str, model: str) -> Path:
    """Where an environment keeps what is a model's own."""
    return home / environment / "models" / model

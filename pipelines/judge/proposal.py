"""What a proposal's build left, read as the hostile data it may be: each file is whole or named as bad. A
field that this version does not know is ignored, as a proposal's own code may write more; where the base's
code wrote the files, the rule `beside` wants them field by field."""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pipelines.artifacts.file import MEGABYTE
from pipelines.artifacts.model import Description, Shuffled
from pipelines.artifacts.serving import Interval, Settings
from pipelines.artifacts.validation import Validation
from pipelines.base import recorded as locks
from pipelines.base.errors import Refused, UserError, one_line
from pipelines.base.files import sha256
from pipelines.core import tasks
from pipelines.core.contract import Column, Contract
from pipelines.core.model import Inputs, Model, encode
from pipelines.core.params import Params, load
from pipelines.core.tasks.task import Task
from pipelines.judge import answers, beside, onnx, window

MODEL = "models/model.onnx"
BESIDE = (*beside.FILES, "models/window.parquet")
LARGEST = dict.fromkeys((".json", ".csv"), 16 * MEGABYTE) | dict.fromkeys((".yaml", ".lock"), MEGABYTE)
MOST_MONTHS = 120  # of the report
NEAREST = 5
T = TypeVar("T")


class InvalidProposal(Exception):
    """What is wrong with a file of the proposal, in one sentence."""


@dataclass(frozen=True)
class Proposal:
    """The files of a proposal, read; `window` is the test window by the proposal's own features.py."""

    params: Params
    card: Description
    model: Model
    sha256: str
    locked: str  # the MD5 of models/model.onnx in the proposal's dvc.lock
    md5: str  # that of the file here
    window: pd.DataFrame | None  # None where the build left none
    path: Path = Path()  # of the model
    size: int = 0  # bytes of the model
    again: Model | None = None  # trained once more from the same seed
    interval: Interval | None = None  # around an answer, by its own word
    shuffled: float | None = None  # `Task.knows` on the test window of a model of shuffled outcomes
    unlocked: str | None = None  # a file beside the model that is another one than dvc.lock names


def read(folder: Path, contract: Contract) -> Proposal:
    """The proposal in `folder`. InvalidProposal names the first file that is missing, cut off or wrong."""
    asked = partial(contained, task=(task := tasks.of(contract)))
    params, path, model = values(folder, task), folder / MODEL, _read(folder, MODEL, asked)
    window = _optional(folder, "models/window.parquet", lambda path: _window(path, contract, model.inputs))
    named = _read(folder, "dvc.lock", recorded)
    if MODEL not in named:
        raise InvalidProposal(f"dvc.lock names no {MODEL}: run `dvc repro` and commit it")
    told = _optional(folder, "models/verification/shuffled.json", partial(Shuffled.of_file, extra="ignore"))
    settings = partial(Settings.of_file, extra="ignore")
    has_interval = params.decision.coverage is not None
    served = _optional(folder, f"models/{Settings.NAME}", settings) if has_interval else None
    # A release takes each file by the name that dvc.lock has for it, wherever it is.
    left = (name for name in BESIDE if name in named and os.path.lexists(folder / name))
    return Proposal(
        params=params,
        card=_read(folder, "models/model.json", partial(Description.of_file, extra="ignore")),
        model=model,
        sha256=sha256(path),
        locked=named[MODEL],
        md5=locks.md5(path),
        window=window,
        path=path,
        size=path.stat().st_size,
        again=_optional(folder, "models/verification/again.onnx", asked),
        interval=served.interval if served else None,
        shuffled=None if told is None else told.knows,
        unlocked=next((name for name in left if _read(folder, name, locks.md5) != named[name]), None),
    )


def differing(folder: Path, made: dict[str, Any]) -> str | None:
    """The first file beside the model, and its field, that is not as the judge `made` it. InvalidProposal
    where one cannot be read."""
    for name, ours in made.items():
        if why := beside.difference(_read(folder, name, beside.read), ours, name):
            return f"{name} is not what params.yaml and this code give ({one_line(why)})"
    return None


def values(folder: Path, task: Task) -> Params:
    """The proposal's params.yaml. InvalidProposal, too, where it is of another kind of answer."""

    def suited(path: Path) -> Params:
        repr(found := load(path))  # ValueError for a number of more digits than Python writes, as the report
        return task.suited(found, path.name)

    return _read(folder, "params.yaml", suited)


def contained(path: Path, task: Task) -> Model:
    """The model in a file that nobody vouches for: looked through before it runs, and then in a process of
    its own."""
    try:
        onnx.check(path)
        return answers.Contained(path, task)
    except onnx.Refused as error:
        raise InvalidProposal(f"models/{path.name} {error}") from None
    except Refused as error:
        said = str(error).replace(f"{path.resolve()} ", "").replace(f"{path} ", "")
        raise InvalidProposal(f"models/{path.name} cannot be opened ({one_line(said)})") from None


def as_committed(folder: Path, committed: Callable[[str], tuple[bytes | None, str]], data: bool) -> None:
    """InvalidProposal where the build's params.yaml or dvc.lock are not the commit's, which are merged, or,
    with `data`, the commit's data.dvc names anything else than data/."""
    for name in ("params.yaml", "dvc.lock", "data.dvc")[: 3 if data else 2]:
        content, why = committed(name)
        if content is None:
            raise InvalidProposal(f"{name} {why} in the proposal's commit")
        if name == "data.dvc":
            locks.check_tracked(content, "data", name)
        elif _read(folder, name, Path.read_bytes) != content:
            wrong = f"{name} of the build is not the one of the proposal's commit, which is what is merged"
            raise InvalidProposal(wrong)


def plain(folder: Path, name: str) -> bytes:
    """A file's bytes. UserError where it is a link, no file, or larger than any that the pipeline writes."""
    try:
        return _read(folder, name, Path.read_bytes)
    except InvalidProposal as error:
        raise UserError(f"{folder}: {error}") from None


def _optional(folder: Path, name: str, reader: Callable[[Path], T]) -> T | None:
    """None where the build left no such file; a rule says what follows from that."""
    return _read(folder, name, reader) if os.path.lexists(folder / name) else None


def _read(folder: Path, name: str, reader: Callable[[Path], T]) -> T:
    path = folder / name
    try:
        for part in (path, *path.parents[: len(Path(name).parts) - 1]):
            if stat.S_ISLNK(part.lstat().st_mode):
                raise InvalidProposal(f"{name} is a link, and a proposal's files must be files")
        if not path.is_file():
            raise InvalidProposal(f"{name} is not a file")
        if path.stat().st_size > LARGEST.get(path.suffix, 512 * MEGABYTE):
            raise InvalidProposal(f"{name} is larger than any that the pipeline writes")
        return reader(path)
    except FileNotFoundError:
        raise InvalidProposal(f"{name} is not there: the build did not end") from None
    except InvalidProposal:
        raise
    except UserError as error:
        raise InvalidProposal(one_line(str(error).replace(str(folder) + "/", ""))) from None
    except (Exception, RecursionError) as error:  # whatever a parser says of bytes that nobody vouches for
        why = f"{type(error).__name__}: {one_line(str(error))}"
        raise InvalidProposal(f"{name} cannot be read ({why})") from None


def locked(folder: Path) -> dict[str, str] | None:
    """The MD5 of the model and of each file beside it by the proposal's dvc.lock, where it left no other."""
    try:
        named = shipped(_read(folder, "dvc.lock", recorded).items())
        left = (name for name in named if os.path.lexists(folder / name))
        return named if all(_read(folder, name, locks.md5) == named[name] for name in left) else None
    except InvalidProposal:
        return None


def shipped(outputs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those of a dvc.lock's outputs, each a path and its MD5, that a release holds."""
    return {name: md5 for name, md5 in outputs if name in (MODEL, *beside.FILES)}


def recorded(path: Path) -> dict[str, str]:
    """The MD5 by path of each stage's outputs in a dvc.lock. UserError where it names what it may not."""
    return locks.outputs(locks.stages(path.read_bytes()))


def _window(path: Path, contract: Contract, asked: tuple[str, ...]) -> pd.DataFrame:
    key, raw = contract.key.name, [column.name for column in contract.raw]
    try:
        table = window.read(path, list(dict.fromkeys((key, *raw, *asked))))
    except Refused as error:
        raise InvalidProposal(f"models/window.parquet cannot be read ({one_line(str(error))})") from None
    if key not in table:
        raise InvalidProposal(f"models/window.parquet has no column {key}")
    table[key] = table[key].astype(str)
    if (twice := table[key].duplicated()).any():
        shown = table[key][twice].iloc[0][:60]
        raise InvalidProposal(f"models/window.parquet: {key} {shown!r} is in two rows")
    return table


def inputs(model: Model, rows: pd.DataFrame) -> Inputs:
    """The columns of `rows` that `model` asks for, as it takes them, else InvalidProposal."""
    made = {}
    for name in model.inputs:
        if name not in rows.columns:
            wrong = f"the model asks for {one_line(name)!r}, which models/window.parquet does not have"
            raise InvalidProposal(wrong)
        values = rows[name]
        number = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
        column = Column(name, "number" if number else "category", "")
        plain = values.to_numpy(np.float64, na_value=np.nan) if number else values.to_numpy(object)
        made[name] = encode(column, plain)
    return made


def validation(folder: Path) -> dict[str, Any] | None:
    """gate.json's "validation": what the build's own Great Expectations said of its months, the shares of
    missing or impossible values that come nearest to what the contract allows among it; or {"note": why it
    cannot be read}. None where it left no word. Nothing is decided by it: it is the proposal's word."""
    if not (folder / "build").is_dir():
        return None
    try:
        return _read(folder, "build/validation.json", _validation)
    except InvalidProposal as error:
        return {"note": str(error)}


def _validation(path: Path) -> dict[str, Any]:
    months: dict[str, list[bool]] = {}
    near: list[tuple[float, dict[str, Any]]] = []
    for result in Validation.of_file(path, extra="ignore").results:
        month, setting, share = one_line(result.month, 20), result.setting, result.observed
        months.setdefault(month, []).append(result.success)
        allowed = 1 - setting.mostly
        if setting.column and isinstance(share, float) and 0 < share <= 1 and 0 < allowed <= 1:
            what = "missing" if result.expectation.endswith("_not_be_null") else "out of range"
            column = one_line(setting.column, 80)
            found = {"month": month, "column": column, "what": what, "share": share, "allowed": allowed}
            near.append((share / allowed, found))
    near.sort(key=lambda pair: -pair[0])
    counts = [{"month": month, "held": sum(held), "of": len(held)} for month, held in months.items()]
    return {"months": counts[:MOST_MONTHS], "nearest": [found for _, found in near[:NEAREST]]}

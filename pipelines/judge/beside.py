"""The files that ship beside a candidate's model, made once more by the judge: by them a slot may serve,
drift is found, the service acts, and the ledger and the card say how good the model is."""

import csv
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.artifacts.file import Artifact
from pipelines.artifacts.model import Description, Metrics
from pipelines.artifacts.reference import Reference, Skill
from pipelines.artifacts.serving import Golden, Settings
from pipelines.core.contract import Contract
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.training import evaluate, reference, table, train

CLOSE = 1e-6  # of numbers that follow from the rows and the model: another processor rounds so
FOLDED = (f"].{Skill.model_fields['skill'].alias}", HALF := ".half_width")  # by models of the months before
FOLDS = 1e-3  # of these: the models are trained, and a tree may split elsewhere
MACHINE = ("parity", "versions")  # of model.json: what the machine that trained was
SHOWN = 40  # characters of a value

MONTHS = "models/months.csv"
ARTIFACTS: dict[str, type[Artifact]] = {
    f"models/{artifact.NAME}": artifact for artifact in (Golden, Metrics, Description, Reference, Settings)
}
FILES = (*ARTIFACTS, MONTHS)


def of(
    params: Params, rows: pd.DataFrame, model: Model, past: Reference, contract: Contract
) -> dict[str, Any]:
    """What each of FILES holds, for the rows of prepared.parquet, the candidate's own answers to them, and
    `of_the_past`."""
    label, later = contract.label.name, table.later(params, rows, contract)
    trained, judged = table.training(params, rows, contract), later[later[label].notna()]
    p = model.predict(table.inputs(rows, contract))
    answers, constant = evaluate.of_these(p, rows, judged), table.constant(trained, contract)
    months = evaluate.by_month(params, rows, p, constant, contract).to_csv(index=False, lineterminator="\n")
    made: list[Artifact] = [
        evaluate.golden(model, later, contract),
        Metrics(**evaluate.measure(params, judged, answers, constant, contract)),
        train.describe(params, trained, 0.0, contract),
        past,
        evaluate.serving(params, past, contract),
    ]
    found = {f"models/{file.NAME}": file.value for file in made}
    return found | {MONTHS: list(csv.reader(months.splitlines()))}


def of_the_past(params: Params, rows: pd.DataFrame, problem: Problem) -> Reference:
    """What reference.json holds: some models of the months before are trained for it."""
    contract = problem.contract
    trained = table.training(params, rows, contract)
    return reference.build(params, trained, partial(train.answers, problem), contract)


def read(path: Path) -> Any:
    """What one of FILES holds, as a build left it. UserError where it is none, or has a field more."""
    if artifact := ARTIFACTS.get(f"models/{path.name}"):
        return artifact.of_file(path).value
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def difference(theirs: Any, ours: Any, name: str) -> str | None:
    """The first field in which what a build left is not what the judge made: "p[3] is 0.5, not 0.2"."""
    if name.endswith(Description.NAME):
        theirs, ours = ({k: v for k, v in one.items() if k not in MACHINE} for one in (theirs, ours))
    return next(_differences(theirs, ours, ""), None)


def _differences(theirs: Any, ours: Any, field: str) -> Iterator[str]:
    """Walks along `ours`, whatever the other is: what only a stranger's file has costs nothing."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if other := sorted(ours.keys() ^ theirs.keys(), key=str):
            name = _shown(f"{field}.{other[0]}".strip("."))
            yield f"{name} is {'not there' if other[0] in ours else 'new'}"
        for key, value in ours.items():
            if key in theirs:
                yield from _differences(theirs[key], value, f"{field}.{key}".strip("."))
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(theirs) != len(ours):
            yield f"{field or 'it'} has {len(theirs):,} entries, not {len(ours):,}"
        for place, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            yield from _differences(one, other, f"{field}[{place}]")
    elif not _same(theirs, ours, FOLDS if field.endswith(FOLDED) else CLOSE, 0.0 if HALF in field else 1.0):
        yield f"{field or 'it'} is {_shown(theirs)}, not {_shown(ours)}"


def _same(one: Any, other: Any, within: float, least: float) -> bool:
    """Whether they differ by no more than this share of the other, or of `least`."""
    if type(one) is type(other) and one == other:
        return True
    a, b = _number(one), _number(other)
    if a is None or b is None or isinstance(one, str) is not isinstance(other, str):
        return False
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) <= within * max(least, abs(b))


def _number(value: Any) -> float | None:
    """A number of JSON or, in CSV, its text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)[:99]) > 50:
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value):,}"
    text = value if isinstance(value, str) else repr(value)[:1000]
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

"""`ml stage card`: the model card, made by the pipeline from what it has, never by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pipelines.artifacts.serving import Settings
from pipelines.base import conflicts
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, sha256, write_text
from pipelines.core import periods, stats, tasks, units
from pipelines.core.contract import Contract
from pipelines.core.model import Model
from pipelines.core.params import Params, flat
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Metric, Task
from pipelines.report.markdown import render, text
from pipelines.training import table as rows_of

CARD = Path("models/card.md")
LOCK = Path("requirements/train.txt")
RATES = Path(__file__).parent / "rates.json"  # of the gate itself: `make bench ONLY=gate`
LINEAGE = "## Lineage"
SEED = 1  # of the bootstrap: the gate's, so that both give the same intervals


def run(params: Params, problem: Problem, here: Path = Path()) -> Path:
    """Write models/card.md of the checkout `here`; returns its path. The same inputs give the same bytes, so
    it holds no time, commit or run: `complete` adds them to the copy that a release keeps. UserError where a
    file of an earlier stage is missing."""
    rows, contract, task = rows_of.load(here / rows_of.PREPARED), problem.contract, problem.task
    model = Model(here / "models/model.onnx", task)
    measured = Measured(params, contract, rows, model.predict(rows_of.inputs(rows, contract)))
    (slices, small), judged = _slices(measured), measured.judged
    settings = Settings.read(here / "models")
    rates = read_json(RATES) if RATES.is_file() else {}
    text = render(
        "card.md.j2",
        params=params,
        contract=contract,
        task=task,
        about=task.schema(contract.decision, settings)["properties"][task.answer],
        interval=settings.interval,
        data=data_hash(here),
        spans=_spans(measured),
        FIGURES=("rows", "days", task.rate_name, *(metric.name for metric in measured.metrics)),
        months=_months(measured),
        constant=measured.constant,
        calibration=_calibration(measured),
        confusion=task.confusion(measured.label(judged), measured.p[judged], params.decision),
        slices=slices,
        small=small,
        thresholds=list(flat(params.gate.model_dump())),
        rates=rates.get("rates") if rates.get("problem") == contract.name else None,
        settings={"train": params.train.model_dump()},
        hashes={
            "data/ (MD5 in data.dvc)": data_hash(here),
            f"{LOCK} (SHA-256)": sha256(here / LOCK),
            "models/model.onnx (SHA-256)": sha256(here / "models/model.onnx"),
        },
    )
    path = write_text(here / CARD, text)
    step(f"written: {path}")
    return path


def complete(card: str, lineage: Mapping[str, str]) -> str:
    """The card with what only a release knows (its commit, its version), at the end of its lineage. UserError
    where `card` is not one that `run` has made."""
    if LINEAGE not in card:
        raise UserError(f"{CARD} has no lineage: run `dvc repro`, which makes it")
    return card.rstrip() + "\n" + "".join(f"| {text(k)} | `{v}` |\n" for k, v in lineage.items())


@dataclass(frozen=True)
class Measured:
    """All rows, labelled or not, with the model's answers."""

    params: Params
    contract: Contract
    rows: pd.DataFrame
    p: np.ndarray  # (n,)

    @cached_property
    def month(self) -> np.ndarray:
        """(n,) such as 2013-06"""
        return periods.months(self.rows[self.contract.time.name])

    @cached_property
    def labelled(self) -> np.ndarray:
        """(n,) bool"""
        return self.rows[self.contract.label.name].notna().to_numpy()

    @cached_property
    def trained(self) -> np.ndarray:
        """(n,) bool: in the months of training"""
        train = self.params.train
        return np.asarray(periods.within(self.rows[self.contract.time.name], train.first, train.last))

    @cached_property
    def later(self) -> np.ndarray:
        """(n,) bool: after these"""
        return np.asarray(self.rows[self.contract.time.name] >= periods.end(self.params.train.last))

    @cached_property
    def judged(self) -> np.ndarray:
        """(n,) bool: labelled and later than training"""
        return self.labelled & self.later

    @cached_property
    def constant(self) -> Any:
        """What the training says without a model."""
        return self.task.constant(self.label(self.trained))

    @property
    def task(self) -> Task:
        return tasks.of(self.contract)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those that the gate judges."""
        return tuple(dict.fromkeys((*self.task.compared, *self.task.floors)))

    def label(self, inside: np.ndarray) -> np.ndarray:
        """Those of labelled rows."""
        return self.task.labels(self.rows[self.contract.label.name][inside & self.labelled])

    def figures(self, inside: np.ndarray) -> dict[str, Any]:
        """Rows, days, label rate, and the metrics with their intervals, of labelled rows."""
        rows = self.rows[inside]
        drawn = units.of(rows, self.contract, self.params.gate.unit)
        days = rows[self.contract.time.name].dt.normalize().nunique()
        label, costs = self.label(inside), self.params.decision
        sums = self.task.sums(label, self.p[inside], drawn.of, drawn.count, self.constant, costs)
        weights = drawn.weights(self.params.gate.resamples, SEED)
        values = ((m.name, float(m.of(sums, None)), m.of(sums, weights)) for m in self.metrics)
        metrics = {name: (value, *stats.interval(draws)) for name, value, draws in values}
        rate = self.task.rate(self.task.constant(label))
        return {"rows": len(label), "days": days, "label_rate": rate, "metrics": metrics}


def _spans(measured: Measured) -> list[dict[str, Any]]:
    """Training and what came after it: months, rows, and rows without a label."""
    spans = []
    for name, kept in {"training": measured.trained, "after it": measured.later}.items():
        found = sorted(set(measured.month[kept]))
        rows, missing = int(kept.sum()), int((kept & ~measured.labelled).sum())
        share = missing / rows if rows else 0.0
        ends = list(dict.fromkeys((*found[:1], *found[-1:])))
        spans.append({"name": name, "months": ends, "rows": rows, "missing": missing, "share": share})
    return spans


def data_hash(here: Path) -> str:
    """The MD5 of data/ by data.dvc. UserError where there is none."""
    conflicts.refuse(here / "data.dvc")
    try:
        return str(yaml.safe_load((here / "data.dvc").read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
        raise UserError("data.dvc does not name the data: run `dvc add data`") from None


def _months(measured: Measured) -> list[dict[str, Any]]:
    found = []
    for month in sorted(set(measured.month)):
        inside = measured.labelled & (measured.month == month)
        if inside.any():
            told = measured.figures(inside)
            found.append({"name": month, "trained": bool(measured.trained[inside].all()), **told})
    if len(set(measured.month[measured.judged])) > 1:
        found.append({"name": "all later", "trained": False, **measured.figures(measured.judged)})
    return found


def _calibration(measured: Measured) -> dict[str, float]:
    """After training; empty where nothing is."""
    judged = measured.judged
    return measured.task.calibration(measured.label(judged), measured.p[judged]) if judged.any() else {}


def _slices(measured: Measured) -> tuple[list[dict[str, Any]], int]:
    """The slices of the days after training, and how many are too small to say anything of."""
    least = measured.params.gate.slice
    found, small = [], 0
    for column in measured.contract.slices:
        values = measured.rows[column.name].astype(str).to_numpy()
        for value in sorted(set(values[measured.judged])):
            inside = measured.judged & (values == value)
            days = measured.rows[measured.contract.time.name][inside].dt.normalize().nunique()
            if inside.sum() < least.rows or days < least.days:
                small += 1
            else:
                found.append({"column": column.name, "value": value, **measured.figures(inside)})
    return found, small

"""`ml stage card`: the model card, made by the pipeline from what it has, never by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pipelines.base import conflicts
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, sha256, write_text
from pipelines.core import stats
from pipelines.core.contract import Column, Contract
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.problem.columns import CONTRACT
from pipelines.report.markdown import flat, number, table, text
from pipelines.training import table as rows_of

CARD = Path("models/card.md")
LOCK = Path("requirements/train.txt")
RATES = Path(__file__).parent / "rates.json"  # of the gate itself: `make bench ONLY=gate`
LINEAGE = "## Lineage"
SEED = 1  # of the bootstrap: the gate's, so that both give the same intervals


def run(params: Params, here: Path = Path()) -> Path:
    """Write models/card.md of the checkout `here`. Returns its path.

    The same inputs give the same bytes, so it holds no time, no commit and no run; `complete` adds them to
    the copy that a release keeps.

    UserError where a file of an earlier stage is missing.
    """
    rows = rows_of.load(here / rows_of.PREPARED)
    model = Model(here / "models/model.onnx")
    measured = Measured(params, rows, model.predict(rows_of.inputs(rows)))
    parts = [
        _purpose(params),
        _data(params, measured, here),
        _columns(),
        _months(measured),
        _slices(measured),
        _gate(params, read_json(RATES) if RATES.is_file() else {}),
        _limits(measured),
        _lineage(params, here),
    ]
    path = write_text(here / CARD, "\n\n".join(parts) + "\n")
    step(f"written: {path}")
    return path


def complete(card: str, lineage: Mapping[str, str]) -> str:
    """The card with what only a release knows (its commit, its version), at the end of its lineage.

    UserError where `card` is not one that `run` has made.
    """
    if LINEAGE not in card:
        raise UserError(f"{CARD} has no lineage: run `dvc repro`, which makes it")
    return card.rstrip() + "\n" + "".join(f"| {text(k)} | `{v}` |\n" for k, v in lineage.items())


@dataclass(frozen=True)
class Measured:
    """All rows, labelled or not, with the model's answers."""

    params: Params
    rows: pd.DataFrame
    p: np.ndarray  # (n,)

    @cached_property
    def month(self) -> np.ndarray:
        """(n,) such as 2013-06"""
        return self.rows[CONTRACT.time.name].dt.strftime("%Y-%m").to_numpy()

    @cached_property
    def labelled(self) -> np.ndarray:
        """(n,) bool"""
        return self.rows[CONTRACT.label.name].notna().to_numpy()

    @cached_property
    def trained(self) -> np.ndarray:
        """(n,) bool: in the months of training"""
        train = self.params.train
        return (self.month >= train.first) & (self.month <= train.last)

    @cached_property
    def judged(self) -> np.ndarray:
        """(n,) bool: labelled and later than training"""
        return self.labelled & (self.month > self.params.train.last)

    @cached_property
    def rate(self) -> float:
        """The label rate of the training."""
        return self.label_rate(self.labelled & self.trained)

    def label_rate(self, inside: np.ndarray) -> float:
        return float(self.rows[CONTRACT.label.name][inside].astype(bool).mean())

    def figures(self, inside: np.ndarray) -> list[str]:
        """Rows, days, label rate, ROC-AUC, log-loss and Brier skill of labelled rows, as a table's cells."""
        found = self.rows[inside]
        day, days = pd.factorize(found[CONTRACT.time.name].dt.normalize(), sort=True)
        label = found[CONTRACT.label.name].to_numpy(dtype=bool)
        sums = stats.day_sums(label, self.p[inside], day, len(days), self.params.decision.threshold)
        weights = stats.day_weights(len(days), self.params.gate.resamples, SEED)
        metrics = (
            (stats.roc_auc(sums), stats.roc_auc(sums, weights)),
            (stats.log_loss(sums), stats.log_loss(sums, weights)),
            (stats.brier_skill(sums, self.rate), stats.brier_skill(sums, self.rate, weights)),
        )
        return [
            f"{len(found):,}",
            str(len(days)),
            f"{label.mean():.1%}",
            *(_with_interval(float(value), draws) for value, draws in metrics),
        ]


FIGURES = ("rows", "days", "label rate", "ROC-AUC", "log-loss", "Brier skill")


def _with_interval(value: float, draws: np.ndarray) -> str:
    low, high = stats.interval(draws)
    return f"{number(value, 3)} [{number(low, 3)}, {number(high, 3)}]"


# --- the parts ---------------------------------------------------------------------------------------------


def _purpose(params: Params, contract: Contract = CONTRACT) -> str:
    decision, costs = contract.decision, params.decision
    return "\n\n".join(
        [
            f"# Model card: {text(contract.name)}",
            f"Made by the pipeline from its own files. A `{params.train.estimator}`, shipped as ONNX.",
            "## Purpose",
            f"For {text(contract.event)}, {contract.horizon:g} hours before it, the model gives the "
            f"probability that {text(decision.positive)}.",
            f"From a probability of **{costs.threshold:.3g}** the decision is: {text(decision.act)}. The "
            "threshold follows from what the two mistakes cost, in the same unit: "
            f"{costs.false_alarm:g} for a false alarm ({text(decision.false_alarm)}), "
            f"{costs.miss:g} for a miss ({text(decision.miss)}).",
            "It is made for that decision. Another one needs its own costs, and a look at the calibration.",
        ]
    )


def _data(params: Params, measured: Measured, here: Path, contract: Contract = CONTRACT) -> str:
    data, train = params.data, params.train
    inside = {"training": measured.trained, "after it": measured.month > train.last}
    lines = []
    for name, kept in inside.items():
        months = sorted(set(measured.month[kept]))
        missing = int((kept & ~measured.labelled).sum())
        share = missing / kept.sum() if kept.any() else 0.0
        span = " to ".join(dict.fromkeys((months[0], months[-1]))) if months else "–"
        lines.append([name, span, f"{int(kept.sum()):,}", f"{missing:,} ({share:.2%})"])
    return "\n\n".join(
        [
            "## Data",
            f"Months {data.first} to {data.through}, MD5 `{data_hash(here)}` (DVC's, of data.dvc).",
            table(["", "months", "rows", "without label"], lines, (2, 3)),
            "Rows without a label are left out of training and of every figure here "
            f"(`{contract.label.name}`: {text(contract.label.meaning)}). The model answers such events, too, "
            "and nothing is known of how well: the figures hold for events that get a label.",
        ]
    )


def data_hash(here: Path) -> str:
    """The MD5 of data/ by data.dvc. UserError where there is none."""
    conflicts.refuse(here / "data.dvc")
    try:
        return str(yaml.safe_load((here / "data.dvc").read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
        raise UserError("data.dvc does not name the data: run `dvc add data`") from None


def _columns(contract: Contract = CONTRACT) -> str:
    features = [
        [
            f"`{column.name}`",
            column.type,
            text(column.meaning),
            text(column.unit),
            _range(column),
            "" if column.known_at is None else f"{column.known_at:g}",
            f"{column.missing:.0%}" if column.missing else "none",
        ]
        for column in contract.features
    ]
    head = ["feature", "type", "meaning", "unit", "values", "known, hours before", "missing, at most"]
    forbidden = [[f"`{column.name}`", text(column.meaning), _known(column)] for column in contract.forbidden]
    return "\n\n".join(
        [
            "## Features",
            f"Known {contract.horizon:g} hours before the event or earlier: the horizon.",
            table(head, features, (5, 6)),
            "## Forbidden columns",
            "Known too late to predict with; the gate refuses a model that asks for one.",
            table(["column", "meaning", "known"], forbidden),
        ]
    )


def _range(column: Column) -> str:
    if column.type == "category":
        known = ", ".join(column.values[:20])
        return text(known, 200) if known else "any"
    ends = (column.minimum, column.maximum)
    return "" if None in ends else f"{ends[0]:g} to {ends[1]:g}"


def _known(column: Column) -> str:
    if column.known_at is None:
        return "afterwards" + (", the label" if column.label else "")
    return f"{column.known_at:g} hours before"


def _months(measured: Measured) -> str:
    lines = []
    for month in sorted(set(measured.month)):
        inside = measured.labelled & (measured.month == month)
        if inside.any():
            trained = "trained" if measured.trained[inside].all() else ""
            lines.append([month, trained, *measured.figures(inside)])
    if len(set(measured.month[measured.judged])) > 1:
        lines.append(["all later", "", *measured.figures(measured.judged)])
    parts = [
        "## Metrics by month",
        table(["month", "", *FIGURES], lines, range(2, 8)),
        "In brackets 90 % intervals of a bootstrap of the days, in blocks. Months that the model was trained "
        "on flatter it. Brier skill is measured against always saying the training's label rate, "
        f"{measured.rate:.1%}.",
    ]
    if measured.judged.any():
        label = measured.rows[CONTRACT.label.name][measured.judged].to_numpy(dtype=bool)
        intercept, slope = stats.calibration(label, measured.p[measured.judged])
        parts.append(
            f"Calibration after training: slope {number(slope, 2)}, intercept {number(intercept, 2)}. Ideal "
            "are 1 and 0; a slope below 1: p is too extreme, an intercept above 0: p is too low."
        )
    return "\n\n".join(parts)


def _slices(measured: Measured, contract: Contract = CONTRACT) -> str:
    least = measured.params.gate.slice
    lines, small = [], 0
    for column in contract.slices:
        values = measured.rows[column.name].astype(str).to_numpy()
        for value in sorted(set(values[measured.judged])):
            inside = measured.judged & (values == value)
            days = measured.rows[CONTRACT.time.name][inside].dt.normalize().nunique()
            if inside.sum() < least.rows or days < least.days:
                small += 1
                continue
            lines.append([f"{column.name} {text(value, 40)}", *measured.figures(inside)])
    if not lines:
        return "## Slices\n\nNo slice of the days after training is large enough to say anything of it."
    note = f"After training. Of less than {least.rows} rows or {least.days} days, and so not shown: {small}."
    return "\n\n".join(["## Slices", table(["slice", *FIGURES], lines, range(1, 7)), note])


def _gate(params: Params, rates: dict[str, Any], contract: Contract = CONTRACT) -> str:
    limits = [[f"`{name}`", f"{value}"] for name, value in flat(params.gate.model_dump()) if value != []]
    parts = [
        "## How it is judged",
        "A proposal may replace this model only by passing the gate. Its thresholds, params.yaml: gate:",
        table(["threshold", ""], limits),
        "### The gate's own error rates",
    ]
    found = _rates(rates.get("rates", {})) if rates.get("problem") == contract.name else []
    if not found:
        parts.append("Not measured yet for this problem: `python -m benchmarks.gate --record` does it.")
    else:
        head = ["days of the test window", "pairs of models", "n", "PASS", "FAIL"]
        parts += [
            table(head, found, range(2, 5)),
            "Measured by `python -m benchmarks.gate`: how often the gate says so, with 90 % intervals.",
        ]
    return "\n\n".join(parts)


def _rates(by_days: Mapping[str, Any]) -> list[list[str]]:
    """Lines of {days: {group: {"n", "pass": {"rate", "interval"}, "fail": ...}}}, the benchmark's."""
    return [
        [days, text(group), str(told.get("n", "–")), _rate(told.get("pass")), _rate(told.get("fail"))]
        for days, groups in by_days.items()
        if isinstance(groups, dict)
        for group, told in groups.items()
    ]


def _rate(told: dict[str, Any] | None) -> str:
    if not told:
        return "–"
    low, high = told["interval"]
    return f"{told['rate']:.0%} [{low:.0%}, {high:.0%}]"


def _limits(measured: Measured, contract: Contract = CONTRACT) -> str:
    train = measured.params.train
    rates = [
        measured.label_rate(measured.labelled & (measured.month == m)) for m in sorted(set(measured.month))
    ]
    unseen = [f"`{column.name}`" for column in contract.features if column.type == "category"]
    given = [f"`{column.name}`" for column in contract.features if column.missing]
    lines = [
        f"It has seen the months {train.first} to {train.last} and no other season or year.",
        f"The label rate went from {min(rates):.1%} to {max(rates):.1%} a month. Where it moves on, the "
        "probabilities are off before the ranking is; the drift check watches both.",
        "The days after training are one stretch of time: the intervals say what other such days would give, "
        "not what another season would.",
        "It says what goes together, not what causes what.",
    ]
    if unseen:
        lines.append(
            f"An unknown value of {', '.join(unseen)} is accepted, and answered without any experience."
        )
    if given:
        lines.append(f"It answers without {', '.join(given)}, less well.")
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines)])


def _lineage(params: Params, here: Path) -> str:
    settings = yaml.safe_dump({"train": params.train.model_dump()}, sort_keys=False, allow_unicode=True)
    lines = [
        ["data/ (MD5 in data.dvc)", f"`{data_hash(here)}`"],
        [f"{LOCK} (SHA-256)", f"`{sha256(here / LOCK)}`"],
        ["models/model.onnx (SHA-256)", f"`{sha256(here / 'models/model.onnx')}`"],
    ]
    return "\n\n".join(
        [
            LINEAGE,
            f"```yaml\n{settings}```",
            "Commit and version stand in the copy that a release keeps (evidence/card.md).",
            table(["", ""], lines),
        ]
    )

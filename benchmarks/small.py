"""What the gate says of windows of few rows and of rare answers: `make bench ONLY=small`.

Made-up windows, on which the truth is known: of two models that are equally good none may fail, and a feature
that is made from the outcome must be found. Beside the gate its rival: the same rules without a thought for
how many rows there are, and with fixed thresholds for leaks.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq  # type: ignore[import-untyped]

from benchmarks import figure, run, workers
from pipelines.base.files import write_text
from pipelines.core import stats
from pipelines.core.contract import Column
from pipelines.core.params import Decision, Floor, Gate, Margin, Slice
from pipelines.core.tasks.binary import BINARY
from pipelines.core.tasks.regression import Regression
from pipelines.judge import rules
from pipelines.judge.evidence import Evidence, Scored
from pipelines.judge.rows import Window
from pipelines.judge.rules import calibration, leaks, metrics, slices
from pipelines.judge.rules.metrics import Rule

TABLE = Path("build/small.md")
SIZES = (30, 60, 180, 360)  # rows
RATIOS = (1, 10, 50, 200, 0)  # negatives to a positive; 0: the label is a number
DAYS, WINDOWS, PROCESSES = 30, 400, 2
FEATURES = {"telling": 3, "silent": 9}  # of the first the truth is made
SPREAD, LUCK = 0.7, 0.3  # of a telling feature, and of a day, in logits
LEAK = np.sqrt(2) * stats.normal(0.95)  # between the classes, so that the ROC-AUC is .95
AGREES = 0.9  # correlation, so that the rank agreement is .95
FAILS, TOGETHER, FOUND = 5, 10, 90  # percent: the aims
LEAST = 60, 5  # rows, and positives that are expected, from which a leak is to be found
PARAMS: Any = SimpleNamespace(  # the template's own, but that no slice would be large enough
    gate=Gate(
        days=28,
        resamples=1000,
        margin=Margin(roc_auc=0.010, log_loss=0.005, mae="1 %", rmse="1 %"),
        floor=Floor(roc_auc=0.65, brier_skill=0.0, r2=0.0),
        slice=Slice(rows=10, days=5),
    ),
    decision=Decision(false_alarm=1.0, miss=3.0, over=1.0, under=3.0),
)
NUMBER = Regression(Column("said", "number", "a number", minimum=-10, maximum=10, label=True))
TIME, SLICES = SimpleNamespace(name="time"), tuple(SimpleNamespace(name=name) for name in ("town", "kind"))
CONTRACT = SimpleNamespace(time=TIME, slices=SLICES)
LEAKED = ("FAIL", "INCONCLUSIVE", "could see none", "missed")
HEAD = [
    "rows",
    "label",
    "worst rule",
    "its FAIL %",
    "any FAIL %",
    *(f"leak: {said} %" for said in LEAKED),
]


@dataclass(frozen=True)
class Case:
    """Which rules fail equal models, and what is said of a leak: by the gate, by its rival."""

    fails: frozenset[str]
    leak: str
    rival_fails: frozenset[str]
    rival_leak: bool


def main() -> None:
    kinds = [(size, ratio) for size in SIZES for ratio in RATIOS]
    lines = [f"| {' | '.join(HEAD)} |", "| ---: | ---: | --- |" + " ---: |" * (len(HEAD) - 3)]
    with workers(PROCESSES) as pool:
        for kind, cases in zip(kinds, pool.imap(of_kind, kinds), strict=True):
            lines.append(told(*kind, cases))
    write_text(TABLE, "\n".join(lines) + "\n")
    print(TABLE.read_text())


def told(size: int, ratio: int, cases: list[Case]) -> str:
    """Prints the figures of one kind of window. Its row of the table, with the rival's in brackets."""
    kind = f"1:{ratio}" if ratio else "a number"
    name = f"{size} rows, {kind}"
    worst, fails, together = failing([case.fails for case in cases])
    _, rival_fails, rival_together = failing([case.rival_fails for case in cases])
    leak = {said: percent([case.leak == said for case in cases]) for said in LEAKED}
    figure(f"{name}: equal, FAIL by {worst}", fails, "%", f"<= {FAILS}", fails <= FAILS)
    figure(f"{name}: equal, FAIL by any rule", together, "%", f"<= {TOGETHER}", together <= TOGETHER)
    figure(f"{name}: equal, FAIL by any, rival", rival_together, "%")
    found = percent([case.leak in LEAKED[:2] for case in cases if case.leak != "could see none"])
    asked = size >= LEAST[0] and (not ratio or size / (1 + ratio) >= LEAST[1])
    goal = (f">= {FOUND}", found >= FOUND) if asked else ("", True)
    figure(f"{name}: leak found where it can be", found, "%", *goal)
    rival = percent([case.rival_leak for case in cases])
    both = f"{fails:.0f} ({rival_fails:.0f})", f"{together:.0f} ({rival_together:.0f})"
    told = (f"{leak['FAIL']:.0f} ({rival:.0f})", *(f"{leak[said]:.0f}" for said in LEAKED[1:]))
    return f"| {size} | {kind} | `{worst}` | {' | '.join((*both, *told))} |"


def failing(cases: list[frozenset[str]]) -> tuple[str, float, float]:
    """The rule that fails most often, in how many of a hundred windows, and in how many any does."""
    often = {rule: percent([rule in one for one in cases]) for rule in sorted(frozenset().union(*cases))}
    worst = max(often, key=lambda rule: often[rule], default="none")
    return worst, often.get(worst, 0.0), percent([bool(one) for one in cases])


def percent(flags: list[bool]) -> float:
    return 100 * float(np.mean(flags)) if flags else float("nan")


def of_kind(kind: tuple[int, int], windows: int = WINDOWS) -> list[Case]:
    """The windows of so many rows, with so many negatives to a positive."""
    draw = np.random.default_rng(kind)
    return [case(*kind, draw) for _ in range(windows)]


def case(size: int, ratio: int, draw: np.random.Generator) -> Case:
    """What is said of one window."""
    e = drawn(size, ratio, draw)
    assert e.window is not None and e.candidate is not None and e.shuffled is not None
    task, label, day, limit = e.task, e.window.label, e.window.day, e.params.gate.leak
    features = e.candidate.features
    fails = failed(e, (*rules.statistics(task), leaks.single_feature, leaks.shuffled))
    floors = map(metrics.floor, task.floors)
    plain = (*metrics.compared(task), slices.slices, calibration.calibration, *floors)
    told = [leaks.alone(features[name], label, day, task) for name in features]
    leaked = {"single_feature"} if np.nanmax(told) > limit.feature else set()
    leaked |= {"shuffled"} if e.shuffled > limit.shuffled else set()
    leak = telling(label, draw)
    leaking = replace(e.candidate, features=features.assign(leak=leak))
    found = leaks.single_feature(replace(e, candidate=leaking))
    assert found is not None
    blind = leaks.reach(task, label, np.zeros(size), day, 2 * len(leaking.features.columns)) >= 1
    said = found.verdict if found.verdict != "PASS" else "could see none" if blind else "missed"
    alone = leaks.alone(pd.Series(leak), label, day, task)
    return Case(fails, said, failed(e, plain) | leaked, alone > limit.feature)


def failed(e: Evidence, asked: tuple[Rule, ...]) -> frozenset[str]:
    """The names of the rules that say FAIL."""
    return frozenset(found.rule for found in rules.ask(e, asked) if found.verdict == "FAIL")


def telling(label: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A feature that is made from the outcome."""
    noise = draw.normal(size=len(label))
    if label.dtype == bool:
        return LEAK * label + noise
    return AGREES * (label - label.mean()) / label.std() + np.sqrt(1 - AGREES**2) * noise


def drawn(size: int, ratio: int, draw: np.random.Generator) -> Evidence:
    """The evidence of a window with both answers: models that see the truth through noise of their own, and
    days with a luck that none of them sees."""
    day, task = np.arange(size) % DAYS, BINARY if ratio else NUMBER
    names = [f"{kind} {n}" for kind, count in FEATURES.items() for n in range(count)]
    rate = 1 / (1 + ratio)
    label: np.ndarray = np.zeros(0)
    constant: Any = rate if ratio else (0.0, 2.0)
    while len(np.unique(label)) < 2:
        features = pd.DataFrame(draw.normal(size=(size, len(names))), columns=names)
        truth = SPREAD * features.iloc[:, : FEATURES["telling"]].sum(axis=1).to_numpy()
        happens = truth + draw.normal(0, LUCK, DAYS)[day]
        if ratio:
            truth = truth + intercept(rate)
            label = draw.random(size) < logistic(happens + intercept(rate))
        else:
            label = happens + draw.standard_t(4, size)  # now and then far off
    features = features.assign(town=draw.choice(list("abcde"), size))

    def scored() -> Scored:
        said = truth + draw.normal(0, 0.5, size)
        answers = logistic(said) if ratio else said
        return Scored(
            answers, task.sums(label, answers, day, DAYS, constant, PARAMS.decision), constant, features
        )

    time = pd.Timestamp("2013-06-01") + pd.to_timedelta(24 * day + draw.integers(0, 24, size), "h")
    parts = {column.name: draw.choice(list("abc"), size) for column in SLICES}
    rows = pd.DataFrame({TIME.name: time, **parts})
    window = Window(tuple(f"2013-06-{n + 1:02}" for n in range(DAYS)), day, label, rows)
    dealt = draw.permutation(label)
    known: Any = SimpleNamespace(words="an older release")  # of a proposal and an anchor no more is asked
    problem: Any = SimpleNamespace(task=task, contract=CONTRACT)
    return Evidence(
        *(PARAMS, problem, (), known, known, known, window, scored(), scored(), scored()),
        shuffled=task.knows(dealt, draw.normal(size=size)),
        dealt=dealt,
    )


@cache
def intercept(rate: float) -> float:
    """What makes the truth's mean probability `rate`."""
    spread = np.random.default_rng(1).normal(
        0, np.hypot(SPREAD * np.sqrt(FEATURES["telling"]), LUCK), 100_000
    )
    return float(brentq(lambda shift: logistic(spread + shift).mean() - rate, -20, 20))


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


if __name__ == "__main__":
    run(main)

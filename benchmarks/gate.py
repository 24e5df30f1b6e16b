"""The gate's own error rates, beside three rivals': `make bench ONLY=gate`.

Pairs of models whose quality is known (see `_pairs`) are judged by the gate's own rules on many windows, and
what PASS and FAIL they get is counted. `python -m benchmarks.gate --record` also writes the gate's rates into
pipelines/report/rates.json, which the model card quotes.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl  # type: ignore[import-untyped]

from benchmarks import _pairs, figure, run, workers
from pipelines.base.console import step
from pipelines.base.files import write_json, write_text
from pipelines.core import params as parameters
from pipelines.core import stats
from pipelines.core.params import Params
from pipelines.core.tasks.binary import BINARY, LOG_LOSS, ROC_AUC
from pipelines.judge import gate, rules
from pipelines.judge.evidence import Evidence, Scored, Window
from pipelines.judge.rules import metrics, structure
from pipelines.problem import PROBLEM
from pipelines.problem.columns import CONTRACT

TABLE = Path("build/gate.md")
RATES = Path("pipelines/report/rates.json")
LENGTHS = (28, 56)  # days of a window
DRAWN = 8  # windows a cut on which a pair at the margin is judged
GROUPS = 100  # of rows, for the row bootstrap
PROCESSES = 2
JUDGES = ("gate", "new < old", "fixed drop", "row bootstrap")
STATISTICS = (structure.equal, *rules.statistics(PROBLEM.task))
NOT_WORSE = (structure.equal, *map(metrics.not_worse, PROBLEM.task.compared))
KINDS = {
    "equal: other seeds": [f"seed {seed}" for seed in _pairs.SEEDS],
    "equal: other settings": list(_pairs.SETTINGS),
    "at the margin of log-loss": ["log-loss, noise", "log-loss, undertrained"],
    "at the margin of ROC-AUC": ["ROC-AUC, noise", "ROC-AUC, no weather"],
    **{name: [name] for name in _pairs.DEGRADED},
}
TOGETHER = {
    "equal": list(KINDS)[:2],
    "at the margin": list(KINDS)[2:4],
    "degraded": list(_pairs.DEGRADED),
}
BEYOND = "degraded by more than a margin"  # in truth, and not only by what was done to it
AIMS = (  # at LENGTHS[0] days
    ("equal", "PASS", ">=", 85),
    ("equal", "FAIL", "<=", 5),
    ("at the margin", "PASS", "<=", 8),
    ("degraded", "PASS", "<=", 10),
    ("degraded", "FAIL", ">=", 75),
)


def main() -> None:
    params = parameters.load()
    cases = pd.DataFrame(list(measured(params)))
    cases.to_parquet(_pairs.CACHE / "cases.parquet")  # to look into, by rule
    rates = summed(cases)
    for days in LENGTHS:
        for group, verdict, way, percent in AIMS:
            rate, before = (100 * find(rates, group, d, "gate", verdict)["rate"] for d in (days, LENGTHS[0]))
            limit = percent if days == LENGTHS[0] else before  # more days, and it should be better
            met = rate >= limit if way == ">=" else rate <= limit
            figure(f"{group}: {verdict}, {days} days", rate, "%", f"{way} {limit:.0f}", met)
    write_text(TABLE, table(rates, cases))
    print(TABLE.read_text())
    if "--record" in sys.argv[1:]:
        write_json(RATES, recorded(rates))


def measured(params: Params) -> Iterator[dict[str, Any]]:
    """Every pair on every window: who said what. Cuts are independent jobs."""
    step("reading the source")
    _pairs.load(params)
    with workers(PROCESSES) as pool:
        for cut, cases in zip(_pairs.cuts(), pool.imap(of_cut, _pairs.cuts()), strict=True):
            step(f"trained to {cut}: {len(cases)} verdicts")
            yield from cases


def of_cut(cut: str) -> list[dict[str, Any]]:
    """The verdicts on the pairs of one cut."""
    params = parameters.load()
    its = _pairs.later(cut, _pairs.load(params), params)
    its = replace(its, answers={**its.answers, **dict(_pairs.at_the_margin(its, params))})
    real = [name for kind in (*TOGETHER["equal"], *TOGETHER["degraded"]) for name in KINDS[kind]]
    edge = [name for kind in TOGETHER["at the margin"] for name in KINDS[kind]]
    cases = []
    threadpoolctl.threadpool_limits(1)  # of this process, for good: two of them would fight over the cores
    for days in LENGTHS:
        of_length = params.model_copy(update={"gate": params.gate.model_copy(update={"days": days})})
        for name, chosen in sliding(its, days):
            cases += judged(its, name, chosen, real, of_length)
        for name, chosen in drawn(its, days):
            cases += judged(its, name, chosen, edge, of_length)
    truth = {name: in_truth(its, name, params) for name in real}
    return [{**case, "beyond": truth.get(case["pair"], False)} for case in cases]


def in_truth(its: _pairs.Later, name: str, params: Params) -> bool:
    """Whether the candidate loses more than a margin over all days that there are after the cut."""
    p, champion = its.answers[name], its.answers["champion"]
    lost, lost_auc = (
        loss(its.label, p) - loss(its.label, champion) for loss in (_pairs.log_loss, _pairs.lost_auc)
    )
    return beyond(lost, lost_auc, params)


def sliding(its: _pairs.Later, days: int) -> Iterator[tuple[str, np.ndarray]]:
    """The windows that start 0, 1, 2 and 3 weeks after the cut, so that over all cuts each week starts one:
    their first day and the days in them, as numbers."""
    for first in range(0, 4 * _pairs.WEEK, _pairs.WEEK):
        if first + days <= len(its.days):
            yield its.days[first], np.arange(first, first + days)


def drawn(its: _pairs.Later, days: int) -> Iterator[tuple[str, np.ndarray]]:
    """Windows of whole weeks drawn with replacement from all weeks after the cut. A pair loses exactly the
    margin over these weeks, and a draw is as likely to be any of them: so the margin is what it loses in
    truth, which of a window between two seasons nobody could say."""
    draw = np.random.default_rng([days, int(its.cut[-2:])])
    weeks = len(its.days) // _pairs.WEEK
    if weeks * _pairs.WEEK < max(LENGTHS):
        return
    for number in range(DRAWN):
        starts = _pairs.WEEK * draw.integers(0, weeks, days // _pairs.WEEK)
        yield f"draw {number}", (starts[:, None] + np.arange(_pairs.WEEK)).ravel()


def judged(
    its: _pairs.Later, start: str, chosen: np.ndarray, names: list[str], params: Params
) -> list[dict[str, Any]]:
    """What the gate and its rivals say of each of the pairs on the days `chosen`; one may be there twice."""
    parts = [np.flatnonzero(its.day == day) for day in chosen]
    rows = np.concatenate(parts)
    day = np.repeat(np.arange(len(chosen)), [len(part) for part in parts])
    days = tuple(its.days[number] for number in chosen)
    window = Window(days, day, its.label[rows], its.rows.iloc[rows].reset_index(drop=True))
    dealt = replace(window, days=tuple(map(str, range(GROUPS))), day=deal(len(rows)))
    champion = its.answers["champion"][rows]
    old, old_dealt = (scored(w, champion, its.rate, params) for w in (window, dealt))
    cases = []
    for name in names:
        p = its.answers[name][rows]
        new, new_dealt = (scored(w, p, its.rate, params) for w in (window, dealt))
        findings = rules.ask(
            Evidence(params, PROBLEM, window=window, candidate=new, champion=old), STATISTICS
        )
        by_rows = rules.ask(
            Evidence(params, PROBLEM, window=dealt, candidate=new_dealt, champion=old_dealt), NOT_WORSE
        )
        lost = float(LOG_LOSS.of(new.sums, None) - LOG_LOSS.of(old.sums, None))
        lost_auc = float(ROC_AUC.of(old.sums, None) - ROC_AUC.of(new.sums, None))
        verdicts = {
            "gate": gate.fold(findings),
            "new < old": "FAIL" if lost_auc > 0 else "PASS",
            "fixed drop": "FAIL" if beyond(lost, lost_auc, params) else "PASS",
            "row bootstrap": gate.fold(by_rows),
        }
        where = {"cut": its.cut, "days": len(days), "start": start, "pair": name}
        said = {f"rule {finding.rule}": finding.verdict for finding in findings}
        cases.append({**where, "log_loss": lost, "roc_auc": -lost_auc, **verdicts, **said})
    return cases


def beyond(lost: float, lost_auc: float, params: Params) -> bool:
    """Whether more than the margin of log-loss or of ROC-AUC is lost."""
    margin = params.gate.margin
    assert isinstance(margin.log_loss, float) and isinstance(margin.roc_auc, float)  # no share
    return lost > margin.log_loss or lost_auc > margin.roc_auc


def deal(rows: int) -> np.ndarray:
    """A group for each row, at random. A bootstrap of such groups spreads as one of rows does: what the rows
    of a day share is dealt out to all groups."""
    return np.random.default_rng(3).permutation(np.arange(rows) % GROUPS)


def scored(window: Window, p: np.ndarray, rate: float, params: Params) -> Scored:
    """As the gate scores, but rows in the order of their answers, in which pairs are counted much faster."""
    order = np.argsort(p, kind="stable")
    label, day = window.label[order], window.day[order]
    sums = BINARY.sums(label, p[order], day, len(window.days), rate, params.decision)
    return Scored(p, sums, rate)


def summed(cases: pd.DataFrame) -> pd.DataFrame:
    """The share of each verdict: a row for a group of pairs, a length, a judge and a verdict, with `low` and
    `high`, the ends of a 90 % interval, and `n`, how many were judged."""
    rows = []
    for group, meant in groups(cases).items():
        for days in LENGTHS:
            its = cases[meant & (cases["days"] == days)]
            for judge in JUDGES:
                for verdict in ("PASS", "FAIL"):
                    said = (its[judge] == verdict).groupby(its["cut"]).agg(["sum", "count"]).to_numpy()
                    rows.append((group, days, judge, verdict, *share(said), len(its)))
    return pd.DataFrame(rows, columns=["group", "days", "judge", "verdict", "rate", "low", "high", "n"])


def groups(cases: pd.DataFrame) -> dict[str, pd.Series]:
    """Which cases belong to each kind, then to kinds together, in the table's order."""
    found: dict[str, pd.Series] = {}
    for together, kinds in TOGETHER.items():
        found |= {kind: cases["pair"].isin(KINDS[kind]) for kind in kinds}
        found[together] = cases["pair"].isin([pair for kind in kinds for pair in KINDS[kind]])
    found[BEYOND] = found["degraded"] & cases["beyond"]
    return found


def share(said: np.ndarray) -> tuple[float, float, float]:
    """A rate and its 90 % interval, from (cuts, 2) counts: of how many it was said, of how many in all.

    Windows of a cut overlap and share their champion, so the cuts are what is drawn again (a cluster
    bootstrap; Cameron, Gelbach & Miller 2008). That says nothing where all cuts agree: there the other end is
    the rate that so many agreeing cuts would still have at one chance in twenty (Clopper & Pearson 1934).
    """
    rate = float(said[:, 0].sum() / said[:, 1].sum())
    drawn_again = stats.day_weights(len(said), 4000, 5, block=1) @ said
    low, high = stats.interval(drawn_again[:, 0] / drawn_again[:, 1])
    beyond = 1 - 0.05 ** (1 / len(said))
    if rate in (0.0, 1.0):
        low, high = (0.0, beyond) if rate == 0 else (1 - beyond, 1.0)
    return rate, low, high


def find(rates: pd.DataFrame, group: str, days: int, judge: str, verdict: str) -> pd.Series:
    """The one row of `summed` that is meant."""
    meant = (rates["group"] == group) & (rates["days"] == days)
    return rates[meant & (rates["judge"] == judge) & (rates["verdict"] == verdict)].iloc[0]


def table(rates: pd.DataFrame, cases: pd.DataFrame) -> str:
    """In Markdown: what the pairs lose on average, and PASS and FAIL in percent: the gate's with their 90 %
    intervals, its rivals' (PASS / FAIL) without."""
    columns = ["pairs", "days", "Δ log-loss", "Δ ROC-AUC", "PASS %", "FAIL %", *JUDGES[1:]]
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for group, meant in groups(cases).items():
        name = group if group in KINDS else f"**{group}**"
        for days in LENGTHS:
            lost = cases[meant & (cases["days"] == days)][["log_loss", "roc_auc"]].mean()
            said = {j: [find(rates, group, days, j, v) for v in ("PASS", "FAIL")] for j in JUDGES}
            own = [
                f"{100 * r['rate']:.0f} [{100 * r['low']:.0f}, {100 * r['high']:.0f}]" for r in said["gate"]
            ]
            others = [" / ".join(f"{100 * r['rate']:.0f}" for r in said[judge]) for judge in JUDGES[1:]]
            cells = [name, str(days), *(f"{value:+.4f}" for value in lost), *own, *others]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def recorded(rates: pd.DataFrame) -> dict[str, Any]:
    """What the model card quotes: the gate's own rates, by length of the window."""
    found: dict[str, Any] = {}
    for row in rates[rates["judge"] == "gate"].itertuples():
        ends = [round(float(end), 3) for end in (row.low, row.high)]  # type: ignore[arg-type]
        its = {"rate": round(float(row.rate), 3), "interval": ends}  # type: ignore[arg-type]
        found.setdefault(f"{row.days}", {}).setdefault(row.group, {"n": row.n})[f"{row.verdict}".lower()] = (
            its
        )
    return {"problem": CONTRACT.name, "rates": found}


if __name__ == "__main__":
    run(main)

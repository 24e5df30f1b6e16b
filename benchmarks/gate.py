"""The gate's own error rates for each kind of answer, beside three rivals': `make bench ONLY=gate`.

Pairs of models whose quality is known (see `_pairs`) are judged by the gate's own rules on many windows, and
what PASS and FAIL they get is counted. `python -m benchmarks.gate --record` also writes the gate's rates into
pipelines/report/rates.json, which the model card quotes. With names of kinds (`binary`), only these are run.
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
from benchmarks._pairs import Subject
from pipelines.base.console import step
from pipelines.base.files import write_json, write_text
from pipelines.core import stats
from pipelines.judge import gate, rules
from pipelines.judge.evidence import Evidence, Scored, Window
from pipelines.judge.rules import metrics, structure

TABLE = Path("build/gate.md")
RATES = Path("pipelines/report/rates.json")
LENGTHS = (28, 56)  # days of a window
DRAWN = 8  # windows a cut on which a pair at the margin is judged
GROUPS = 100  # of rows, for the row bootstrap
PROCESSES = 2
JUDGES = ("gate", "new < old", "fixed drop", "row bootstrap")
BEYOND = "degraded by more than a margin"  # in truth, and not only by what was done to it
AIMS = (  # at LENGTHS[0] days
    ("equal", "PASS", ">=", 85),
    ("equal", "FAIL", "<=", 5),
    ("at the margin", "PASS", "<=", 8),
    ("degraded", "PASS", "<=", 10),
    ("degraded", "FAIL", ">=", 75),
)


def main() -> None:
    named = [word for word in sys.argv[1:] if not word.startswith("-")] or list(_pairs.SUBJECTS)
    tables = {}
    for kind in named:
        its = _pairs.subject(kind)
        cases = pd.DataFrame(list(measured(kind)))
        cases.to_parquet(_pairs.CACHE / f"cases-{kind}.parquet")  # to look into, by rule
        rates = summed(cases, its)
        for days in LENGTHS:
            for group, verdict, way, percent in AIMS:
                rate, before = (
                    100 * find(rates, group, d, "gate", verdict)["rate"] for d in (days, LENGTHS[0])
                )
                limit = percent if days == LENGTHS[0] else before  # more days, and it should be better
                met = rate >= limit if way == ">=" else rate <= limit
                figure(f"{kind}, {group}: {verdict}, {days} days", rate, "%", f"{way} {limit:.0f}", met)
        tables[kind] = table(rates, cases, its)
        if "--record" in sys.argv[1:] and kind == "binary":  # the template's own
            write_json(RATES, recorded(rates, its))
    write_text(TABLE, "\n".join(f"{kind}\n\n{rows}" for kind, rows in tables.items()))
    print(TABLE.read_text())


def kinds(its: Subject) -> dict[str, dict[str, list[str]]]:
    """The pairs of each kind, by what kinds are together."""
    return {
        "equal": {
            "equal: other seeds": [f"seed {seed}" for seed in _pairs.SEEDS],
            "equal: other settings": list(its.settings),
        },
        "at the margin": {f"at the margin of {m.name}": list(pairs) for m, pairs in its.edges.items()},
        "degraded": {name: [name] for name in its.degraded},
    }


def measured(kind: str) -> Iterator[dict[str, Any]]:
    """Every pair on every window: who said what. Cuts are independent jobs."""
    step(f"{kind}: reading the source")
    its = _pairs.subject(kind)
    _pairs.load(its)
    jobs = [(kind, cut) for cut in _pairs.cuts(its)]
    with workers(PROCESSES) as pool:
        for (_, cut), cases in zip(jobs, pool.imap(of_cut, jobs), strict=True):
            step(f"{kind}: trained to {cut}: {len(cases)} verdicts")
            yield from cases


def of_cut(job: tuple[str, str]) -> list[dict[str, Any]]:
    """The verdicts on the pairs of one kind of answer and one cut."""
    kind, cut = job
    its = _pairs.subject(kind)
    later = _pairs.later(cut, _pairs.load(its), its)
    later = replace(later, answers={**later.answers, **dict(_pairs.at_the_margin(later, its))})
    equal, edge, degraded = ([name for names in of.values() for name in names] for of in kinds(its).values())
    cases = []
    threadpoolctl.threadpool_limits(1)  # of this process, for good: two of them would fight over the cores
    for days in LENGTHS:
        of_length = replace(its, params=_with_days(its, days))
        for name, chosen in sliding(later, days):
            cases += judged(later, name, chosen, equal + degraded, of_length)
        for name, chosen in drawn(later, days):
            cases += judged(later, name, chosen, edge, of_length)
    truth = {name: in_truth(later, name, its) for name in equal + degraded}
    return [{**case, "beyond": truth.get(case["pair"], False)} for case in cases]


def _with_days(its: Subject, days: int) -> Any:
    return its.params.model_copy(update={"gate": its.params.gate.model_copy(update={"days": days})})


def in_truth(later: _pairs.Later, name: str, its: Subject) -> bool:
    """Whether the candidate loses more than a margin over all days that there are after the cut."""
    p, champion = later.answers[name], later.answers["champion"]
    lost = {m: [its.lost(m, later.label, answers) for answers in (p, champion)] for m in its.task.compared}
    return any(new - old > its.margin(metric, old) for metric, (new, old) in lost.items())


def sliding(later: _pairs.Later, days: int) -> Iterator[tuple[str, np.ndarray]]:
    """The windows that start 0, 1, 2 and 3 weeks after the cut, so that over all cuts each week starts one:
    their first day and the days in them, as numbers."""
    for first in range(0, 4 * _pairs.WEEK, _pairs.WEEK):
        if first + days <= len(later.days):
            yield later.days[first], np.arange(first, first + days)


def drawn(later: _pairs.Later, days: int) -> Iterator[tuple[str, np.ndarray]]:
    """Windows of whole weeks drawn with replacement from all weeks after the cut. A pair loses exactly the
    margin over these weeks, and a draw is as likely to be any of them: so the margin is what it loses in
    truth, which of a window between two seasons nobody could say."""
    draw = np.random.default_rng([days, int(later.cut[-2:])])
    weeks = len(later.days) // _pairs.WEEK
    if weeks * _pairs.WEEK < max(LENGTHS):
        return
    for number in range(DRAWN):
        starts = _pairs.WEEK * draw.integers(0, weeks, days // _pairs.WEEK)
        yield f"draw {number}", (starts[:, None] + np.arange(_pairs.WEEK)).ravel()


def judged(
    later: _pairs.Later, start: str, chosen: np.ndarray, names: list[str], its: Subject
) -> list[dict[str, Any]]:
    """What the gate and its rivals say of each of the pairs on the days `chosen`; one may be there twice."""
    task, compared = its.task, its.task.compared
    parts = [np.flatnonzero(later.day == day) for day in chosen]
    rows = np.concatenate(parts)
    day = np.repeat(np.arange(len(chosen)), [len(part) for part in parts])
    days = tuple(later.days[number] for number in chosen)
    window = Window(days, day, later.label[rows], later.rows.iloc[rows].reset_index(drop=True))
    dealt = replace(window, days=tuple(map(str, range(GROUPS))), day=deal(len(rows)))
    champion = later.answers["champion"][rows]
    old, old_dealt = (scored(w, champion, later.constant, its) for w in (window, dealt))
    statistics = (structure.equal, *rules.statistics(task))
    not_worse = (structure.equal, *map(metrics.not_worse, compared))
    margin = {m: its.margin(m, float(m.of(old.sums, None))) for m in compared}
    cases = []
    for name in names:
        p = later.answers[name][rows]
        new, new_dealt = (scored(w, p, later.constant, its) for w in (window, dealt))
        findings = rules.ask(
            Evidence(its.params, its.problem, window=window, candidate=new, champion=old), statistics
        )
        by_rows = rules.ask(
            Evidence(its.params, its.problem, window=dealt, candidate=new_dealt, champion=old_dealt),
            not_worse,
        )
        moved = {m: float(m.of(new.sums, None) - m.of(old.sums, None)) for m in compared}
        verdicts = {
            "gate": gate.fold(findings),
            "new < old": "FAIL" if -compared[0].sign * moved[compared[0]] > 0 else "PASS",
            "fixed drop": "FAIL" if any(-m.sign * by > margin[m] for m, by in moved.items()) else "PASS",
            "row bootstrap": gate.fold(by_rows),
        }
        where = {"cut": later.cut, "days": len(days), "start": start, "pair": name}
        said = {f"rule {finding.rule}": finding.verdict for finding in findings}
        cases.append({**where, **{m.key: by for m, by in moved.items()}, **verdicts, **said})
    return cases


def deal(rows: int) -> np.ndarray:
    """A group for each row, at random. A bootstrap of such groups spreads as one of rows does: what the rows
    of a day share is dealt out to all groups."""
    return np.random.default_rng(3).permutation(np.arange(rows) % GROUPS)


def scored(window: Window, p: np.ndarray, constant: Any, its: Subject) -> Scored:
    """As the gate scores, but rows in the order of their answers, in which pairs are counted much faster."""
    order = np.argsort(its.task.level(p), kind="stable")
    label, day = window.label[order], window.day[order]
    sums = its.task.sums(label, p[order], day, len(window.days), constant, its.params.decision)
    return Scored(p, sums, constant)


def summed(cases: pd.DataFrame, its: Subject) -> pd.DataFrame:
    """The share of each verdict: a row for a group of pairs, a length, a judge and a verdict, with `low` and
    `high`, the ends of a 90 % interval, and `n`, how many were judged."""
    rows = []
    for group, meant in groups(cases, its).items():
        for days in LENGTHS:
            found = cases[meant & (cases["days"] == days)]
            for judge in JUDGES:
                for verdict in ("PASS", "FAIL"):
                    said = (found[judge] == verdict).groupby(found["cut"]).agg(["sum", "count"]).to_numpy()
                    rows.append((group, days, judge, verdict, *share(said), len(found)))
    return pd.DataFrame(rows, columns=["group", "days", "judge", "verdict", "rate", "low", "high", "n"])


def groups(cases: pd.DataFrame, its: Subject) -> dict[str, pd.Series]:
    """Which cases belong to each kind, then to kinds together, in the table's order."""
    found: dict[str, pd.Series] = {}
    for together, of in kinds(its).items():
        found |= {kind: cases["pair"].isin(pairs) for kind, pairs in of.items()}
        found[together] = cases["pair"].isin([pair for pairs in of.values() for pair in pairs])
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


def table(rates: pd.DataFrame, cases: pd.DataFrame, its: Subject) -> str:
    """In Markdown: what the pairs lose on average, and PASS and FAIL in percent: the gate's with their 90 %
    intervals, its rivals' (PASS / FAIL) without."""
    compared, alone = its.task.compared, {kind for of in kinds(its).values() for kind in of}
    columns = ["pairs", "days", *(f"Δ {m.name}" for m in compared), "PASS %", "FAIL %", *JUDGES[1:]]
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for group, meant in groups(cases, its).items():
        name = group if group in alone else f"**{group}**"
        for days in LENGTHS:
            lost = cases[meant & (cases["days"] == days)][[m.key for m in compared]].mean()
            said = {j: [find(rates, group, days, j, v) for v in ("PASS", "FAIL")] for j in JUDGES}
            own = [
                f"{100 * r['rate']:.0f} [{100 * r['low']:.0f}, {100 * r['high']:.0f}]" for r in said["gate"]
            ]
            others = [" / ".join(f"{100 * r['rate']:.0f}" for r in said[judge]) for judge in JUDGES[1:]]
            cells = [name, str(days), *(f"{value:+.4f}" for value in lost), *own, *others]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def recorded(rates: pd.DataFrame, its: Subject) -> dict[str, Any]:
    """What the model card quotes: the gate's own rates, by length of the window."""
    found: dict[str, Any] = {}
    for row in rates[rates["judge"] == "gate"].itertuples():
        ends = [round(float(end), 3) for end in (row.low, row.high)]  # type: ignore[arg-type]
        rate = {"rate": round(float(row.rate), 3), "interval": ends}  # type: ignore[arg-type]
        group = found.setdefault(f"{row.days}", {}).setdefault(row.group, {"n": row.n})
        group[f"{row.verdict}".lower()] = rate
    return {"problem": its.problem.name, "rates": found}


if __name__ == "__main__":
    run(main)

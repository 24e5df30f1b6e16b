"""`ml gate`: the decision on a proposal, with its reasons: a fold of the rules' findings."""

import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.artifacts.file import LONGEST
from pipelines.artifacts.verdict import SEVERITY, Verdict, fold
from pipelines.base import git
from pipelines.base.console import step
from pipelines.base.errors import UserError, one_line
from pipelines.core import periods, stats
from pipelines.core.contract import Contract, Finding
from pipelines.core.params import Params, flat
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task
from pipelines.judge import explain, proposal, rules
from pipelines.judge.champion import Champion, Production
from pipelines.judge.evidence import Evidence, Scored, Window
from pipelines.judge.gather import gather
from pipelines.judge.proposal import Proposal
from pipelines.judge.rules import calibration, slices

POINTS = 20  # of the report's curve
TENTHS = 10  # of the report's calibration
MOST_MOVED = 10  # rows that are shown of decisions


def run(
    candidate: Path,
    base: Path,
    problem: Problem,
    out: Path = Path("evidence"),
    production: Production | None = None,
    anchor: Production | None = None,
    head: str | None = None,
) -> int:
    """Judge what a proposal's build left in `candidate`, by the rules and thresholds of the checkout `base`.

    `production` is the ledger's entry (None before the first release), `anchor` that of the last release
    which was shown superior, or of the first; `head` the proposal's commit. Writes `out`/gate.json and prints
    verdict and reasons. Returns 0 PASS, 3 INCONCLUSIVE, 4 FAIL. UserError where `head` names no commit."""
    # one that the checkout does not have is taken at its word
    sha = (git.commit(head, base) or head) if head else None
    if sha and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", sha):
        raise UserError(f"--head is {head!r}, which names no commit: give the full SHA of the proposal's")
    evidence = gather(candidate, base, problem, production, anchor, sha)
    verdict = record(rules.judge(evidence), evidence, base, sha, proposal.validation(candidate))
    written = verdict.write(out)
    for finding in verdict.findings:
        print(f"{finding.verdict:12}  {finding.rule:18} {finding.sentence}")
    print(verdict.verdict)
    step(f"judged: {written}")
    return SEVERITY[verdict.verdict]


def record(
    findings: list[Finding],
    e: Evidence,
    base: Path,
    head: str | None,
    validation: dict[str, Any] | None = None,
) -> Verdict:
    """The verdict with all that the report says; what the release keeps as evidence."""
    label = e.window.label if e.window else np.zeros(0)
    data = {"base": e.params.data, "proposal": e.proposal.params.data if e.proposal else None}
    values = {
        "version": 1,
        "head": head,
        "base": git.commit("HEAD", base),
        "verdict": fold(findings),
        "superior": superior(findings, e.task),
        "findings": [_finding(finding) for finding in findings],
        "candidate": _model(e, e.proposal, e.candidate, locked="locked"),
        "champion": _model(e, e.champion_model, e.champion, origin="words", commit="commit"),
        "anchor": _model(e, e.anchor_model, e.anchor, origin="words", commit="commit"),
        "window": _window(e),
        "thresholds": e.params.gate,
        "params": differences(e.params, e.proposal.params) if e.proposal else [],
        "data": {name: [months.first, months.through] if months else None for name, months in data.items()},
        "code": _files(base, head) if head else None,
        "metrics": _metrics(e),
        "dp": _dp(e),
        "months": _months(e),
        "slices": slices.table(e),
        "decisions": decisions(e),
        "confusion": {n: e.task.confusion(label, s.p, e.params.decision) for n, s in e.scored.items()},
        "calibration": _calibrations(e),
        "roc": {name: _curve(e, scored) for name, scored in e.scored.items()},
        "validation": validation,
        "explain": explain.explain(e),
    }
    return Verdict.model_validate(values)


def _finding(finding: Finding) -> dict[str, Any]:
    """A team's own rule may say more than fits, and give numbers that JSON does not have."""
    numbers = {name: stats.finite(value) for name, value in finding.numbers.items()}
    texts = {"rule": one_line(finding.rule, 80), "sentence": one_line(finding.sentence, LONGEST)}
    return asdict(finding) | texts | {"numbers": numbers}


def superior(findings: Iterable[Finding], task: Task) -> bool:
    """Whether the candidate is the next anchor, once it is released: shown better on a metric and worse on
    none than the anchor, which may be the champion.

    Beside another champion a loss within the margin and then a tiny gain, in turn, would lead it away."""
    by_rule = {finding.rule: finding for finding in findings}
    if "anchor" in by_rule or fold(by_rule.values()) == "FAIL":  # the first: it cannot be had
        return False
    ends = []
    for metric in task.compared:
        beside = by_rule.get(f"anchor_{metric.key}") or by_rule.get(metric.key)
        low, high = (beside.numbers.get(end) if beside else None for end in ("low", "high"))
        if low is not None and high is not None:
            ends.append((low, high) if metric.sign > 0 else (-high, -low))
    return any(low > 0 for low, _ in ends) and all(high >= 0 for _, high in ends)


def _files(base: Path, head: str) -> list[str] | None:
    """The files that the proposal changes; None where `base` does not have its commit."""
    if git.commit(head, base) is None or (left := git.merge_base("HEAD", head, base)) is None:
        return None
    return [one_line(path) for path in git.changes(left, head, base)]


def differences(base: Params, proposal: Params) -> list[dict[str, Any]]:
    """Each key of params.yaml that differs: {"key": "train.seed", "base": "7", "proposal": "8"}. As text,
    because JSON may not have the value."""
    here, there = ({k: one_line(v) for k, v in flat(p.model_dump())} for p in (base, proposal))
    keys = (key for key in dict.fromkeys([*here, *there]) if here.get(key) != there.get(key))
    return [{"key": one_line(k), "base": here.get(k, "–"), "proposal": there.get(k, "–")} for k in keys]


def _model(e: Evidence, model: Proposal | Champion | None, scored: Scored | None, **own: str) -> Any:
    """What is said of every model, and more by gate.json's name for it."""
    if model is None:
        return None
    card = {"estimator": one_line(model.card.estimator, 80), "settings": one_line(model.card.settings)}
    card |= model.card.train.model_dump(include={"first", "last", "rows"})
    more = {name: getattr(model, attribute) for name, attribute in own.items()}
    rate = e.task.rate(scored.constant) if scored else None
    return {"sha256": model.sha256, **card, "label_rate": rate, **more}


def _window(e: Evidence) -> dict[str, Any] | None:
    if e.window is None or not e.window.days:
        return None
    days, label = e.window.days, e.window.label
    ends = {"first": days[0], "last": days[-1], "days": len(days)}
    return {**ends, "rows": len(label), "label_rate": e.task.rate(e.task.constant(label))}


def _metrics(e: Evidence) -> list[dict[str, Any]]:
    """For each metric the champion, the candidate and their difference: value and 90 % interval."""
    if e.candidate is None:
        return []
    found = []
    for metric in (*e.task.metrics, *e.task.details):
        values = {n: (metric.of(s.sums, None), metric.of(s.sums, e.weights)) for n, s in e.scored.items()}
        if "champion" in values:
            (one, here), (other, there) = values["candidate"], values["champion"]
            values["difference"] = one - other, here - there
        told = {name: [stats.finite(value), *_interval(draws)] for name, (value, draws) in values.items()}
        found.append({"name": metric.name, "better": metric.better, **told})
    return found


def _interval(draws: np.ndarray) -> list[float | None]:
    return [stats.finite(end) for end in stats.interval(draws)]


def _dp(e: Evidence) -> dict[str, Any] | None:
    """Quantiles of how far the candidate's answers on the test window have shifted from the champion's, at 0,
    1, ... 100 %: a rollout asks whether live answers differ so too."""
    if e.candidate is None or e.champion is None or e.champion_model is None:
        return None
    quantiles = np.quantile(e.task.shifted(e.champion.p, e.candidate.p), np.linspace(0, 1, 101))
    return {"champion": e.champion_model.sha256, "quantiles": quantiles.tolist()}


def _months(e: Evidence) -> list[dict[str, Any]]:
    """The test window month by month: rows, label rate and both models' metrics."""
    if e.window is None or e.candidate is None:
        return []
    month = periods.months(e.window.rows[e.contract.time.name])
    return [{"name": str(name), **slices.part_of(e, month == name)} for name in sorted(set(month))]


def decisions(e: Evidence) -> dict[str, Any] | None:
    """What changes for those who are decided about: where the candidate would decide otherwise than the
    champion, and what that costs or saves. Shown, not judged: the rule `cost` judges. `moves`: how many rows
    go each way, on how many of them the candidate costs less or more, and what is saved in all; `rows`: those
    whose answers differ most. None where there are not two models that differ."""
    if e.window is None or e.candidate is None or e.champion is None or e.equal:
        return None
    task, label, costs = e.task, e.window.label, e.params.decision
    before, after = e.champion.p, e.candidate.p
    moved = task.moved(before, after, costs)
    saved = task.charges(label, before, costs) - task.charges(label, after, costs)
    most = np.argsort(-task.difference(before, after), kind="stable")[:MOST_MOVED]
    words = (task.answer_words(before[most]), task.answer_words(after[most]), task.label_words(label[most]))
    told = zip(most, *words, saved[most].tolist(), strict=True)
    return {
        "moves": [_move(str(name), saved[moved == name]) for name in np.unique(moved) if name],
        "rows": [
            _place(e.window, row, e.contract)
            | {"champion": old, "candidate": new, "label": came, "saved": cost}
            for row, old, new, came, cost in told
        ],
    }


def _move(name: str, saved: np.ndarray) -> dict[str, Any]:
    counts = {"rows": len(saved), "less": int((saved > 0).sum()), "more": int((saved < 0).sum())}
    return {"name": one_line(name, 80), **counts, "saved": float(saved.sum())}


def _place(window: Window, row: int, contract: Contract) -> dict[str, Any]:
    """When and where a row is: no more of it than the report's slices show of all."""
    given = window.rows.iloc[row]
    slices = {c.name: one_line(str(given[c.name]), 40) for c in contract.slices if c.name in given}
    return {"time": f"{given[contract.time.name]:%Y-%m-%d %H:%M}", "slices": slices}


def _calibrations(e: Evidence) -> dict[str, Any]:
    """For each model tenths of the test window by p (mean p and mean outcome of each), by each part of the
    answer in turn, the calibration with its intervals, and its expected error over all tenths: shown only, as
    its bootstrap is biased upward."""
    found: dict[str, Any] = {}
    for name, scored in e.scored.items():
        assert e.window is not None
        both = zip(e.task.each(scored.p).T, e.task.each(e.window.label).T, strict=True)
        tenths = [
            (said[part].mean().item(), came[part].mean().item(), _interval(_shares(e, part, came)), len(part))
            for said, came in both
            for part in np.array_split(np.argsort(said, kind="stable"), TENTHS)
            if len(part)
        ]
        predicted, observed, ends, rows = map(list, zip(*tenths, strict=True))
        gaps = [abs(p - o) * n for p, o, n in zip(predicted, observed, rows, strict=True)]
        found[name] = {"predicted": predicted, "observed": observed, "ece": sum(gaps) / sum(rows)}
        found[name]["observed_interval"] = ends
        figures, draws = calibration.measure(e, scored)
        found[name] |= {figure: stats.finite(value) for figure, value in figures.items()}
        found[name] |= {f"{figure}_interval": _interval(drawn) for figure, drawn in draws.items()}
    return found


def _curve(e: Evidence, scored: Scored) -> dict[str, list[float]]:
    """The task's curve at even places of its first axis; empty where it does not exist."""
    assert e.window is not None
    if e.task.lacks(e.window.label):
        return {axis: [] for axis in e.task.axes}
    x, y = next(iter(e.task.plots(e.window.label, scored.p).values())).values()
    places = np.linspace(0, 1, POINTS + 1)
    return dict(zip(e.task.axes, (places.tolist(), np.interp(places, x, y).tolist()), strict=True))


def _shares(e: Evidence, part: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """The mean outcome of the window's rows `part` in each resample of the days: (B,)."""
    assert e.window is not None
    day, days = e.window.units.of[part], e.window.units.count
    happened = np.bincount(day, weights=outcomes[part], minlength=days)
    with np.errstate(invalid="ignore"):
        return (e.weights @ happened) / (e.weights @ np.bincount(day, minlength=days))

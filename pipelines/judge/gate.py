"""`ml gate`: the decision on a proposal, with its reasons: a fold of the rules' findings."""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.artifacts.file import LONGEST
from pipelines.artifacts.verdict import SEVERITY, Verdict, fold
from pipelines.base import git
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.core import stats
from pipelines.core.contract import Finding
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task
from pipelines.judge import explain, proposal, rules
from pipelines.judge.champion import Champion, Production
from pipelines.judge.evidence import Evidence, Scored
from pipelines.judge.gather import gather
from pipelines.judge.proposal import Card, one_line
from pipelines.judge.rules import calibration, metrics, slices

POINTS = 20  # of the report's ROC curve
TENTHS = 10  # of the report's calibration


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
    verdict and reasons. Returns 0 PASS, 3 INCONCLUSIVE, 4 FAIL. UserError where `head` names no commit.
    """
    commits = _commit(base, head) if head else None, git.commit("HEAD", base)
    evidence = gather(candidate, base, problem, production, anchor, commits[0])
    findings = rules.judge(evidence)
    verdict = record(findings, evidence, base, *commits, validation=proposal.validation(candidate))
    written = verdict.write(out)
    for finding in verdict.findings:
        print(f"{finding.verdict:12}  {finding.rule:18} {finding.sentence}")
    print(f"{verdict.verdict}")
    step(f"judged: {written}")
    return SEVERITY[verdict.verdict]


def _commit(base: Path, head: str) -> str:
    """The full SHA of `head`; one that the checkout `base` does not have is taken at its word."""
    if found := git.commit(head, base):
        return found
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", head):
        return head
    raise UserError(f"--head is {head!r}, which names no commit: give the full SHA of the proposal's")


def record(
    findings: list[Finding],
    e: Evidence,
    base: Path,
    head: str | None,
    commit: str | None,
    validation: dict[str, Any] | None = None,
) -> Verdict:
    """The verdict with all that the report says; what the release keeps as evidence."""
    data = {"base": e.params.data, "proposal": e.proposal.params.data if e.proposal else None}
    values = {
        "version": 1,
        "head": head,
        "base": commit,
        "verdict": fold(findings),
        "superior": superior(findings, e.task),
        "findings": [_finding(finding) for finding in findings],
        "candidate": _candidate(e),
        "champion": _champion(e.champion_model, e.champion),
        "anchor": _champion(e.anchor_model, e.anchor),
        "window": _window(e),
        "thresholds": e.params.gate,
        "params": differences(e.params, e.proposal.params) if e.proposal else [],
        "data": {name: [months.first, months.through] if months else None for name, months in data.items()},
        "code": _files(base, head) if head else None,
        "metrics": _metrics(e),
        "dp": _dp(e),
        "months": _months(e),
        "slices": slices.table(e),
        "calibration": _calibrations(e),
        "roc": _both(e, _roc),
        "validation": validation,
        "explain": explain.explain(e),
    }
    return Verdict.model_validate(values)


def _finding(finding: Finding) -> dict[str, Any]:
    """A team's own rule may say more than fits, and give numbers that JSON does not have."""
    numbers = {name: None if value is None else _finite(value) for name, value in finding.numbers.items()}
    return asdict(finding) | {
        "rule": one_line(finding.rule, 80),
        "sentence": one_line(finding.sentence, LONGEST),
        "numbers": numbers,
    }


def superior(findings: Iterable[Finding], task: Task) -> bool:
    """Whether the candidate is shown better than the champion: the next anchor, once it is released."""
    by_rule = {finding.rule: finding for finding in findings}
    if fold(by_rule.values()) == "FAIL":
        return False
    return any(
        metrics.shown_better(by_rule[metric.key], metric) for metric in task.compared if metric.key in by_rule
    )


def _files(base: Path, head: str) -> list[str] | None:
    """The files that the proposal changes; None where `base` does not have its commit."""
    if git.commit(head, base) is None or (left := git.merge_base("HEAD", head, base)) is None:
        return None
    return [one_line(path) for path in git.changes(left, head, base)]


def differences(base: Params, proposal: Params) -> list[dict[str, Any]]:
    """Each key of params.yaml that differs: {"key": "train.seed", "base": "7", "proposal": "8"}."""
    here, there = _flat(base.model_dump()), _flat(proposal.model_dump())
    return [
        {"key": one_line(key), "base": _shown(here, key), "proposal": _shown(there, key)}
        for key in dict.fromkeys([*here, *there])
        if _shown(here, key) != _shown(there, key)
    ]


def _shown(values: dict[str, Any], key: str) -> str:
    """A value as text, as it may not be one that JSON has: a proposal can write `.nan`, for one."""
    return one_line(str(values[key])) if key in values else "–"


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}".strip(".")).items()}


def _candidate(e: Evidence) -> dict[str, Any] | None:
    if e.proposal is None:
        return None
    rate = e.candidate.rate if e.candidate else None
    return {
        "sha256": e.proposal.sha256,
        "locked": e.proposal.locked,
        **_card(e.proposal.card),
        "label_rate": rate,
    }


def _champion(model: Champion | None, scored: Scored | None) -> dict[str, Any] | None:
    if model is None:
        return None
    found = {"origin": model.words, "commit": model.commit, "sha256": model.sha256}
    return {**found, **_card(model.card), "label_rate": scored.rate if scored else None}


def _card(card: Card) -> dict[str, Any]:
    return {name: value for name, value in asdict(card).items() if name != "schema"}


def _window(e: Evidence) -> dict[str, Any] | None:
    if e.window is None or not e.window.days:
        return None
    days = e.window.days
    return {
        "first": days[0],
        "last": days[-1],
        "days": len(days),
        "rows": len(e.window.label),
        "label_rate": float(e.window.label.mean()),
    }


def _metrics(e: Evidence) -> list[dict[str, Any]]:
    """For each metric the champion, the candidate and their difference: value and 90 % interval."""
    if e.candidate is None:
        return []
    found = []
    for metric in e.task.metrics:
        candidate, here = metric.of(e.candidate.sums, None), metric.of(e.candidate.sums, e.weights)
        entry = {"name": metric.name, "better": metric.better, "candidate": _value(candidate, here)}
        if e.champion is not None:
            champion, there = metric.of(e.champion.sums, None), metric.of(e.champion.sums, e.weights)
            entry["champion"] = _value(champion, there)
            entry["difference"] = _value(candidate - champion, here - there)
        found.append(entry)
    return found


def _value(value: float, draws: np.ndarray) -> list[float | None]:
    return [_finite(number) for number in (value, *stats.interval(draws))]


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _dp(e: Evidence) -> dict[str, Any] | None:
    """Quantiles of Δp, the candidate's answers on the test window minus the champion's, at 0, 1, ... 100 %.

    A rollout asks whether live answers differ so too.
    """
    if e.candidate is None or e.champion is None or e.champion_model is None:
        return None
    quantiles = np.quantile(e.candidate.p - e.champion.p, np.linspace(0, 1, 101))
    return {"champion": e.champion_model.sha256, "quantiles": quantiles.tolist()}


def _months(e: Evidence) -> list[dict[str, Any]]:
    """The test window month by month: rows, label rate and both models' metrics."""
    if e.window is None or e.candidate is None:
        return []
    month = e.window.rows[e.contract.time.name].dt.strftime("%Y-%m").to_numpy()
    found: list[dict[str, Any]] = []
    for name in sorted(set(month)):
        inside = month == name
        label = e.window.label[inside]
        entry = {"name": str(name), "rows": int(inside.sum()), "label_rate": float(label.mean())}
        for key, scored in (("candidate", e.candidate), ("champion", e.champion)):
            if scored is not None:
                entry[key] = slices.metrics_of(e, scored, inside)
        found.append(entry)
    return found


def _both(e: Evidence, curve: Callable[[np.ndarray, np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    models = {"candidate": e.candidate, "champion": e.champion}
    return {
        name: curve(e.window.label, scored.p)
        for name, scored in models.items()
        if scored is not None and e.window is not None
    }


def _calibrations(e: Evidence) -> dict[str, Any]:
    """For each model tenths of the test window by p (mean p and observed share of each), slope and intercept
    with their intervals, and the expected calibration error over the tenths: shown only, as its bootstrap is
    biased upward.
    """
    found = {}
    for name, scored in (("candidate", e.candidate), ("champion", e.champion)):
        if scored is None or e.window is None:
            continue
        parts = [part for part in np.array_split(np.argsort(scored.p, kind="stable"), TENTHS) if len(part)]
        predicted = [float(scored.p[part].mean()) for part in parts]
        observed = [float(e.window.label[part].mean()) for part in parts]
        measured = calibration.measure(e, scored)
        gaps = [abs(p - o) * len(part) for p, o, part in zip(predicted, observed, parts, strict=True)]
        found[name] = {
            "predicted": predicted,
            "observed": observed,
            "observed_interval": [_share(e, part) for part in parts],
            **{figure: _finite(value) for figure, value in measured.figures.items()},
            **{
                f"{figure}_interval": [_finite(end) for end in stats.interval(draws)]
                for figure, draws in measured.draws.items()
            },
            "ece": sum(gaps) / len(scored.p),
        }
    return found


def _share(e: Evidence, part: np.ndarray) -> list[float | None]:
    """The interval of the observed share among the window's rows `part`, by a bootstrap of the days."""
    assert e.window is not None
    day, days = e.window.day[part], len(e.window.days)
    positives = np.bincount(day, weights=e.window.label[part], minlength=days)
    with np.errstate(invalid="ignore"):
        draws = (e.weights @ positives) / (e.weights @ np.bincount(day, minlength=days))
    return [_finite(end) for end in stats.interval(draws)]


def _roc(label: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    """The share of positives found at even shares of false alarms."""
    order = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))  # of each run of equal p
    found, false = (np.append(0, np.cumsum(kind[order])[last]) for kind in (label, ~label))
    if not found[-1] or not false[-1]:
        return {"false_alarms": [], "found": []}
    shares = np.linspace(0, 1, POINTS + 1)
    return {
        "false_alarms": shares.tolist(),
        "found": np.interp(shares, false / false[-1], found / found[-1]).tolist(),
    }

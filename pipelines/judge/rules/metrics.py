"""Is the candidate shown not worse than the champion and than the anchor, and good enough by itself?

A metric of the gate is a function of core/stats.py and a line of `measures`, which the report shows; COMPARED
and FLOORS, at the end, name the rules that judge by one.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from pipelines.core import stats
from pipelines.core.contract import Finding, Verdict
from pipelines.judge.evidence import Evidence, Scored

Metric = Callable[[stats.DaySums, np.ndarray | None], Any]


@dataclasses.dataclass(frozen=True)
class Measure:
    """A metric of the report: its name, the better direction, its value of a model by weights of the days."""

    name: str
    better: Literal["higher", "lower"]
    of: Callable[[Scored, np.ndarray | None], Any]


def measures(e: Evidence) -> tuple[Measure, ...]:
    """The metrics that the report shows of candidate and champion, in its order."""
    cost = cost_of(e)
    return (
        Measure("ROC-AUC", "higher", lambda s, w: stats.roc_auc(s.sums, w)),
        Measure("log-loss", "lower", lambda s, w: stats.log_loss(s.sums, w)),
        Measure("Brier score", "lower", lambda s, w: stats.brier(s.sums, w)),
        Measure("Brier skill", "higher", lambda s, w: stats.brier_skill(s.sums, s.rate, w)),
        Measure("cost of a decision", "lower", lambda s, w: cost(s.sums, w)),
    )


def roc_auc(e: Evidence) -> Finding | None:
    """Not worse than the champion on ROC-AUC."""
    margin = e.params.gate.margin.roc_auc
    return _not_worse(e, e.champion, "roc_auc", "ROC-AUC", stats.roc_auc, margin, better=+1)


def log_loss(e: Evidence) -> Finding | None:
    """Not worse than the champion on log-loss."""
    margin = e.params.gate.margin.log_loss
    return _not_worse(e, e.champion, "log_loss", "Log-loss", stats.log_loss, margin, better=-1)


def anchor_roc_auc(e: Evidence) -> Finding | None:
    """Many small losses, each within the margin, do not add up to more than one."""
    return _no_creep(e, "anchor_roc_auc", "ROC-AUC", stats.roc_auc, e.params.gate.margin.roc_auc, better=+1)


def anchor_log_loss(e: Evidence) -> Finding | None:
    """The same on log-loss."""
    return _no_creep(
        e, "anchor_log_loss", "Log-loss", stats.log_loss, e.params.gate.margin.log_loss, better=-1
    )


def cost(e: Evidence) -> Finding | None:
    """The decision at the threshold does not cost more than the champion's, as far as can be shown."""
    if e.candidate is None or e.champion is None or e.equal:
        return None
    candidate, champion, draws = _paired(e, cost_of(e), e.candidate, e.champion)
    low, high = stats.interval(draws)
    difference, share = candidate - champion, e.params.gate.margin.cost
    slack = share * champion
    numbers = _numbers(champion=champion, candidate=candidate, low=low, high=high, slack=slack)
    span = _span(difference, low, high)
    words = f"A decision costs {candidate:.3f} beside the champion's {champion:.3f} (Δ {span})"
    if not (math.isfinite(low) and math.isfinite(high)):
        return Finding(
            "cost", "INCONCLUSIVE", "The cost of a decision does not exist on the test window.", numbers
        )
    if low > 0 and difference > slack:
        sentence = f"{words}: shown to cost more, by over {share:.0%}."
        return Finding("cost", "FAIL", sentence, numbers)
    return Finding("cost", "PASS", f"{words}: not shown to cost over {share:.0%} more.", numbers)


def floor_roc_auc(e: Evidence) -> Finding | None:
    """ROC-AUC that no model may fall below."""
    return _floor(e, "floor_roc_auc", "ROC-AUC", stats.roc_auc, e.params.gate.floor.roc_auc)


def floor_brier_skill(e: Evidence) -> Finding | None:
    """Better than always saying the training's label rate."""
    if e.candidate is None:
        return None
    rate, floor = e.candidate.rate, e.params.gate.floor.brier_skill
    words = f"Brier skill (against always saying the training's {rate:.1%})"
    return _floor(e, "floor_brier_skill", words, skill_of(rate), floor)


def shown_better(finding: Finding) -> bool:
    """Whether a finding of `roc_auc` or `log_loss` has its whole interval on the better side of zero."""
    low, high = finding.numbers.get("low"), finding.numbers.get("high")
    if low is None or high is None:
        return False
    return low > 0 if finding.rule == "roc_auc" else high < 0


def cost_of(e: Evidence) -> Metric:
    """The metric of the base's decision costs."""
    decision = e.params.decision
    return lambda sums, weights: stats.expected_cost(sums, decision.false_alarm, decision.miss, weights)


def skill_of(rate: float) -> Metric:
    """The Brier skill against always saying `rate`."""
    return lambda sums, weights: stats.brier_skill(sums, rate, weights)


def _no_creep(
    e: Evidence, rule: str, words: str, metric: Metric, margin: float, better: int
) -> Finding | None:
    finding = _not_worse(e, e.anchor, rule, words, metric, margin, better)
    if finding is None or e.anchor_model is None:
        return None
    sentence = finding.sentence.replace("the champion's", "the anchor's")
    return dataclasses.replace(finding, sentence=f"Since {e.anchor_model.words}: {sentence}")


def _not_worse(
    e: Evidence, other: Scored | None, rule: str, words: str, metric: Metric, margin: float, better: int
) -> Finding | None:
    """Non-inferiority by the paired day bootstrap, interval first.

    PASS where the 90 % interval of "how much worse" ends below `margin` (so the chance of a pass for a model
    that loses the whole margin is about 5 %: Schuirmann 1987's one-sided test); else FAIL where the whole
    interval says worse and the point is beyond half the margin; else INCONCLUSIVE.
    """
    if e.candidate is None or other is None or e.window is None or e.equal:
        return None
    candidate, champion, draws = _paired(e, metric, e.candidate, other)
    low, high = stats.interval(draws)
    numbers = _numbers(champion=champion, candidate=candidate, low=low, high=high, margin=margin)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Finding(
            rule,
            "INCONCLUSIVE",
            f"{words} does not exist on the test window, or not on each resample.",
            numbers,
        )
    loss = -better * (candidate - champion)
    worse_low, worse_high = (low, high) if better < 0 else (-high, -low)
    sentence = (
        f"{words} {candidate:.4f} beside the champion's {champion:.4f}: Δ "
        f"{_span(candidate - champion, low, high)}, "
    )
    limit = f"{-better * margin:+.3f}"
    verdict: Verdict
    if worse_high < margin:
        verdict, end = "PASS", "shown better." if worse_high < 0 else f"within the margin of {limit}."
    elif worse_low > 0 and loss > margin / 2:
        verdict, end = "FAIL", f"shown worse, and by more than half the margin of {limit}."
    else:
        needed = _days_to_decide(len(e.window.days), loss, worse_low, worse_high, margin)
        numbers["days_to_decide"] = needed
        verdict, end = "INCONCLUSIVE", f"which may be beyond the margin of {limit}"
        end += f"; about {needed} days would decide it." if needed else ", and no number of days would help."
    return Finding(rule, verdict, sentence + end, numbers)


def _days_to_decide(now: int, loss: float, low: float, high: float, margin: float) -> int | None:
    """The days after which the interval, which shrinks with their square root, would pass or fail it."""
    ways = []
    if loss < margin:
        ways.append(now * ((high - loss) / (margin - loss)) ** 2)
    if loss > margin / 2:
        ways.append(now * ((loss - low) / loss) ** 2)
    fine = [math.ceil(way) for way in ways if math.isfinite(way)]
    return max(now + 1, min(fine)) if fine else None


def _floor(e: Evidence, rule: str, words: str, metric: Metric, floor: float) -> Finding | None:
    """FAIL only where the whole interval is below the floor; where only the point is, it may be chance."""
    if e.candidate is None or e.equal:
        return None
    value = float(metric(e.candidate.sums, None))
    low, high = stats.interval(metric(e.candidate.sums, e.weights))
    numbers = _numbers(candidate=value, low=low, high=high, floor=floor)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Finding(
            rule,
            "INCONCLUSIVE",
            f"{words} does not exist on the test window, or not on each resample.",
            numbers,
        )
    words = f"{words} is {value:.3f} [{low:.3f}, {high:.3f}]"
    if high < floor:
        return Finding(rule, "FAIL", f"{words}, shown below the floor of {floor:g}.", numbers)
    if value < floor:
        return Finding(
            rule, "INCONCLUSIVE", f"{words}, below the floor of {floor:g}, perhaps by chance.", numbers
        )
    return Finding(rule, "PASS", f"{words}; the floor is {floor:g}.", numbers)


def _paired(e: Evidence, metric: Metric, one: Scored, other: Scored) -> tuple[float, float, np.ndarray]:
    draws = metric(one.sums, e.weights) - metric(other.sums, e.weights)
    return float(metric(one.sums, None)), float(metric(other.sums, None)), draws


def _span(value: float, low: float, high: float) -> str:
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def _numbers(**numbers: float) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


COMPARED = (roc_auc, log_loss, anchor_roc_auc, anchor_log_loss, cost)
FLOORS = (floor_roc_auc, floor_brier_skill)

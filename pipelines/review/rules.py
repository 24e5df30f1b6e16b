"""The rules of the gate: each a function from the evidence to a finding, or to None where it has no say."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines import stats
from pipelines.problem.columns import CONTRACT
from pipelines.review.evidence import SAME, Evidence, Finding, Scored, Verdict

COST_SLACK = 0.02  # of the champion's cost: other seeds alone move it by up to 1.5 %
Metric = Callable[[stats.DaySums, np.ndarray | None], Any]


def lock(e: Evidence) -> Finding | None:
    """What is judged is what the merged dvc.lock will name."""
    if e.proposal is None:
        return None
    if e.proposal.md5 != e.proposal.locked:
        return Finding(
            "lock",
            "FAIL",
            f"dvc.lock names the model {e.proposal.locked[:12]}, but the build left {e.proposal.md5[:12]}: "
            "run `ml reproduce` and commit dvc.lock.",
        )
    return Finding("lock", "PASS", "The model is the one that dvc.lock names.")


def inputs(e: Evidence) -> Finding | None:
    """No input that is known too late for the prediction, by the base's contract."""
    if e.proposal is None:
        return None
    too_late = {column.name for column in CONTRACT.forbidden} | {CONTRACT.key.name, CONTRACT.time.name}
    if found := sorted(too_late & set(e.proposal.model.inputs)):
        return Finding(
            "inputs",
            "FAIL",
            f"The model asks for {', '.join(found)}: not known {CONTRACT.horizon:g} h before the event, or "
            "its key.",
        )
    count = len(e.proposal.model.inputs)
    return Finding("inputs", "PASS", f"All {count} inputs are known in time.", {"inputs": count})


def leakage(e: Evidence) -> Finding | None:
    """No day is both trained on and judged on, by either model's own card."""
    if e.proposal is None or e.window is None or not e.window.days:
        return None
    card = e.proposal.card
    if seen := [day for day in e.window.days if card.first <= day <= card.last]:
        return Finding(
            "leakage",
            "FAIL",
            f"The candidate has trained on {len(seen)} of the {len(e.window.days)} days that judge it: its "
            f"model.json says {card.first} to {card.last}, while params.yaml ends training with "
            f"{e.proposal.params.train.last}.",
            {"days": len(seen)},
        )
    return Finding(
        "leakage", "PASS", f"No day of V is among the training days ({card.first} to {card.last})."
    )


def days(e: Evidence) -> Finding | None:
    """V is long enough for an interval that means something."""
    if e.window is None:
        return None
    found, asked = len(e.window.days), e.params.gate.days
    if found == 0:
        sentence = "There is no labelled day later than both models' training: nothing was measured."
        return Finding("days", "INCONCLUSIVE", sentence, {"days": 0, "asked": asked})
    words = f"V has {found} days, {e.window.days[0]} to {e.window.days[-1]}"
    if found < asked:
        sentence = f"{words}, and at least {asked} are asked for: add a month of data, or train on fewer."
        return Finding("days", "INCONCLUSIVE", sentence, {"days": found, "asked": asked})
    return Finding("days", "PASS", f"{words}.", {"days": found, "asked": asked})


def equal(e: Evidence) -> Finding | None:
    """A candidate that answers as the champion does needs no statistics."""
    if (difference := e.largest_difference) is None or difference > SAME:
        return None
    sentence = (
        f"Equal: the candidate answers every row of V as the champion does (max |Δp| = {difference:.1g})."
    )
    return Finding("equal", "PASS", sentence, {"max_dp": difference})


def roc_auc(e: Evidence) -> Finding | None:
    """Not worse than the champion on ROC-AUC."""
    return _not_worse(e, "roc_auc", "ROC-AUC", stats.roc_auc, e.params.gate.margin.roc_auc, better=+1)


def log_loss(e: Evidence) -> Finding | None:
    """Not worse than the champion on log-loss."""
    return _not_worse(e, "log_loss", "Log-loss", stats.log_loss, e.params.gate.margin.log_loss, better=-1)


def cost(e: Evidence) -> Finding | None:
    """The decision at the threshold does not cost more than the champion's, as far as can be shown."""
    if e.scored is None or e.beside is None:
        return None
    candidate, champion, draws = _paired(e, cost_of(e), e.scored, e.beside)
    low, high = stats.interval(draws)
    difference, slack = candidate - champion, COST_SLACK * champion
    numbers = _numbers(champion=champion, candidate=candidate, low=low, high=high, slack=slack)
    span = _span(difference, low, high)
    words = f"A decision costs {candidate:.3f} beside the champion's {champion:.3f} (Δ {span})"
    if not (math.isfinite(low) and math.isfinite(high)):
        return Finding("cost", "INCONCLUSIVE", "The cost of a decision does not exist on V.", numbers)
    if low > 0 and difference > slack:
        sentence = f"{words}: shown to cost more, by over {COST_SLACK:.0%}."
        return Finding("cost", "FAIL", sentence, numbers)
    return Finding("cost", "PASS", f"{words}: not shown to cost over {COST_SLACK:.0%} more.", numbers)


def floor_roc_auc(e: Evidence) -> Finding | None:
    """ROC-AUC that no model may fall below."""
    return _floor(e, "floor_roc_auc", "ROC-AUC", stats.roc_auc, e.params.gate.floor.roc_auc)


def floor_brier_skill(e: Evidence) -> Finding | None:
    """Better than always saying the training's label rate."""
    if e.scored is None:
        return None
    rate, floor = e.scored.rate, e.params.gate.floor.brier_skill
    words = f"Brier skill (against always saying the training's {rate:.1%})"
    return _floor(e, "floor_brier_skill", words, skill_of(rate), floor)


STRUCTURE = (lock, inputs, leakage, days)
COMPARISON = (roc_auc, log_loss, cost)
FLOORS = (floor_roc_auc, floor_brier_skill)


def judge(e: Evidence) -> list[Finding]:
    """Every rule's finding on this evidence, in the report's order."""
    found = [*e.gathered, *_ask(e, STRUCTURE)]
    if e.unchanged and not any(finding.verdict == "FAIL" for finding in found):
        return [Finding("unchanged", "PASS", "No model changed: it is the champion's, byte for byte.")]
    if same := equal(e):
        return [same, *found]
    if e.proposal is not None and e.champion is None and not e.gathered:
        sentence = "There is no champion yet: the first model has to pass the floors alone."
        found.append(Finding("champion", "PASS", sentence))
    measured = _ask(e, COMPARISON + FLOORS)
    if not measured and not any(finding.verdict != "PASS" for finding in found):
        measured = [Finding("measured", "INCONCLUSIVE", "Nothing was measured.")]  # no data never passes
    return found + measured


def _ask(e: Evidence, rules: tuple[Callable[[Evidence], Finding | None], ...]) -> list[Finding]:
    return [finding for rule in rules if (finding := rule(e)) is not None]


def cost_of(e: Evidence) -> Metric:
    """The metric of the base's decision costs."""
    decision = e.params.decision
    return lambda sums, weights: stats.expected_cost(sums, decision.false_alarm, decision.miss, weights)


def skill_of(rate: float) -> Metric:
    """The Brier skill against always saying `rate`."""
    return lambda sums, weights: stats.brier_skill(sums, rate, weights)


def _not_worse(
    e: Evidence, rule: str, words: str, metric: Metric, margin: float, better: int
) -> Finding | None:
    """Non-inferiority by the paired day bootstrap, interval first.

    PASS where the 90 % interval of "how much worse" ends below `margin` (so the chance of a pass for a model
    that loses the whole margin is about 5 %: Schuirmann 1987's one-sided test); else FAIL where the whole
    interval says worse and the point is beyond half the margin; else INCONCLUSIVE.
    """
    if e.scored is None or e.beside is None or e.window is None:
        return None
    candidate, champion, draws = _paired(e, metric, e.scored, e.beside)
    low, high = stats.interval(draws)
    numbers = _numbers(champion=champion, candidate=candidate, low=low, high=high, margin=margin)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Finding(
            rule, "INCONCLUSIVE", f"{words} does not exist on V, or not on each resample.", numbers
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
    if e.scored is None:
        return None
    value = float(metric(e.scored.sums, None))
    low, high = stats.interval(metric(e.scored.sums, e.weights))
    numbers = _numbers(candidate=value, low=low, high=high, floor=floor)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Finding(
            rule, "INCONCLUSIVE", f"{words} does not exist on V, or not on each resample.", numbers
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

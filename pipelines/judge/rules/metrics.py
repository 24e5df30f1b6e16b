"""Is the candidate shown not worse than the champion and than the anchor, and good enough by itself? The task
says by which metrics (`compared`, `floors`), params.yaml: gate the margin and the floor of each by its
key."""

import dataclasses
import math

import numpy as np

from pipelines.core import params as parameters
from pipelines.core import stats
from pipelines.core.contract import Finding, Verdict
from pipelines.core.tasks.task import Metric, Task
from pipelines.judge.evidence import Evidence, Scored
from pipelines.judge.rules.size import Rule


def compared(task: Task) -> tuple[Rule, ...]:
    """Not worse than the champion on each metric, nor than the anchor; and its decisions do not cost more."""
    beside = (rule(metric) for rule in (not_worse, no_creep) for metric in task.compared)
    return (*beside, cost)


def not_worse(metric: Metric) -> Rule:
    """Not worse than the champion."""
    return _named(metric.key, lambda e: _not_worse(e, e.champion, metric.key, metric))


def no_creep(metric: Metric) -> Rule:
    """Many small losses, each within the margin, do not add up to more than one."""
    name = f"anchor_{metric.key}"

    def rule(e: Evidence) -> Finding | None:
        finding = _not_worse(e, e.anchor, name, metric)
        if finding is None or e.anchor_model is None:
            return None
        sentence = finding.sentence.replace("the champion's", "the anchor's")
        return dataclasses.replace(finding, sentence=f"Since {e.anchor_model.words}: {sentence}")

    return _named(name, rule)


def floor(metric: Metric) -> Rule:
    """No model may fall below the floor. FAIL only where the whole interval is below it; where only the point
    is, it may be chance."""
    name = f"floor_{metric.key}"

    def rule(e: Evidence) -> Finding | None:
        if e.candidate is None or e.equal:
            return None
        words, least = _capital(metric.name), getattr(e.params.gate.floor, metric.key)
        if metric is e.task.skill:
            words += f" (against {e.task.constant_words(e.candidate.constant)})"
        value = float(metric.of(e.candidate.sums, None))
        low, high = e.interval(metric.of(e.candidate.sums, e.weights))
        numbers = _numbers(candidate=value, low=low, high=high, floor=least)
        if not (math.isfinite(low) and math.isfinite(high)):
            return _does_not_exist(name, words, numbers)
        words = f"{words} is {value:.3f} [{low:.3f}, {high:.3f}]"
        if high < least:
            return Finding(name, "FAIL", f"{words}, shown below the floor of {least:g}.", numbers)
        if value < least:
            sentence = f"{words}, below the floor of {least:g}, perhaps by chance."
            return Finding(name, "INCONCLUSIVE", sentence, numbers)
        return Finding(name, "PASS", f"{words}; the floor is {least:g}.", numbers)

    return _named(name, rule)


def cost(e: Evidence) -> Finding | None:
    """The decision at the threshold does not cost more than the champion's, as far as can be shown."""
    if e.candidate is None or e.champion is None or e.equal:
        return None
    candidate, champion, draws = _paired(e, e.task.cost, e.candidate, e.champion)
    low, high = e.interval(draws)
    difference, said = candidate - champion, e.params.gate.margin.cost
    share = parameters.absolute(said, 1.0)
    slack = share * champion
    ends = {"low": low, "high": high, "half": difference - low}
    numbers = _numbers(champion=champion, candidate=candidate, **ends, margin=slack)
    span = _span(difference, low, high)
    what = _capital(e.task.cost.name.removeprefix("cost of "))
    words = f"{what} costs {candidate:.3f} beside the champion's {champion:.3f} (Δ {span})"
    if not (math.isfinite(low) and math.isfinite(high)):
        sentence = f"The {e.task.cost.name} does not exist on the test window."
        return Finding("cost", "INCONCLUSIVE", sentence, numbers)
    if low > 0 and difference > slack:
        sentence = f"{words}: shown to cost more, by over {share:.0%}."
        return Finding("cost", "FAIL", sentence, numbers)
    return Finding("cost", "PASS", f"{words}: not shown to cost over {share:.0%} more.", numbers)


def _not_worse(e: Evidence, other: Scored | None, rule: str, metric: Metric) -> Finding | None:
    """Non-inferiority by the paired day bootstrap, interval first.

    PASS where the 90 % interval of "how much worse" ends below the margin (so the chance of a pass for a
    model that loses the whole margin is about 5 %: Schuirmann 1987's one-sided test); else FAIL where the
    whole interval says worse and the point is beyond half the margin; else INCONCLUSIVE."""
    if e.candidate is None or other is None or e.window is None or e.equal:
        return None
    better, said = metric.sign, getattr(e.params.gate.margin, metric.key)
    share, margin = parameters.share(said), parameters.absolute(said, 1.0)
    candidate, champion, draws = _paired(e, metric, e.candidate, other, share is not None)
    low, high = e.interval(draws)
    numbers = _numbers(champion=champion, candidate=candidate, low=low, high=high, margin=margin)
    words = _capital(metric.name)
    if not (math.isfinite(low) and math.isfinite(high)):
        return _does_not_exist(rule, words, numbers)
    difference = candidate / champion - 1 if share is not None else candidate - champion
    loss = -better * difference
    worse_low, worse_high = (low, high) if better < 0 else (-high, -low)
    style = "+.4f" if share is None else "+.1%"
    span = _span(difference, low, high, style)
    limit = f"{-better * margin:+.3f}" if share is None else f"+{said}"
    if metric is e.task.loss:  # of others the mean answer has none, or one that takes long
        label, same = e.window.label, np.broadcast_to(other.p.mean(axis=0), other.p.shape)
        lead = float(e.task.losses(label, same).mean()) - champion
        numbers["lead"] = lead if share is None else lead / champion
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
    sentence = f"{words} {candidate:.4f} beside the champion's {champion:.4f}: Δ {span}, {end}"
    return Finding(rule, verdict, sentence, numbers)


def _days_to_decide(now: int, loss: float, low: float, high: float, margin: float) -> int | None:
    """The days after which the interval, which shrinks with their square root, would pass or fail it."""
    ways = []
    if loss < margin:
        ways.append(now * ((high - loss) / (margin - loss)) ** 2)
    if loss > margin / 2:
        ways.append(now * ((loss - low) / loss) ** 2)
    fine = [math.ceil(way) for way in ways if math.isfinite(way)]
    return max(now + 1, min(fine)) if fine else None


def _paired(
    e: Evidence, metric: Metric, one: Scored, other: Scored, share: bool = False
) -> tuple[float, float, np.ndarray]:
    """Both values, and the draws of their difference: as a share of the other's, which the same days make
    greater or smaller, where the margin is one."""
    mine, its = metric.of(one.sums, e.weights), metric.of(other.sums, e.weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = mine / its - 1 if share else mine - its
    return float(metric.of(one.sums, None)), float(metric.of(other.sums, None)), draws


def _does_not_exist(rule: str, words: str, numbers: dict[str, float | None]) -> Finding:
    sentence = f"{words} does not exist on the test window, or not on each resample."
    return Finding(rule, "INCONCLUSIVE", sentence, numbers)


def _named(name: str, rule: Rule) -> Rule:
    rule.__name__ = name  # by which the gate calls it where it raises
    return rule


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _span(value: float, low: float, high: float, style: str = "+.4f") -> str:
    return f"{value:{style}} [{low:{style}}, {high:{style}}]"


def _numbers(**numbers: float) -> dict[str, float | None]:
    return {name: stats.finite(value) for name, value in numbers.items()}

"""Each rule on made-up scores, so that every verdict it can give is given."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from pipelines.core.contract import Finding
from pipelines.core.tasks.binary import BINARY, BRIER, LOG_LOSS, ROC_AUC, SKILL, Binary
from pipelines.core.tasks.task import Metric
from pipelines.judge import gate, rules
from pipelines.judge.evidence import Evidence, Scored, Window
from pipelines.judge.rules import metrics
from pipelines.judge.rules.calibration import calibration
from tests.problems.parcels import PARAMS, PROBLEM

DAYS, ROWS = 30, 200  # a day
DRAW = np.random.default_rng(4)
TRUTH = DRAW.normal(-1.2, 1.2, DAYS * ROWS)  # logits
DAY = np.repeat(np.arange(DAYS), ROWS)
LABEL = DRAW.random(len(TRUTH)) < 1 / (1 + np.exp(-TRUTH))
roc_auc, log_loss = (metrics.not_worse(metric) for metric in (ROC_AUC, LOG_LOSS))
floor_roc_auc, floor_brier_skill = (metrics.floor(metric) for metric in (ROC_AUC, SKILL))
COMPARISON = (roc_auc, log_loss, metrics.cost)
NAMES = tuple(f"2013-06-{day + 1:02}" for day in range(DAYS))


def scored(logit: np.ndarray, rate: float = 0.28) -> Scored:
    p = 1 / (1 + np.exp(-logit))
    return Scored(p, BINARY.sums(LABEL, p, DAY, DAYS, rate, PARAMS.decision), rate)


def evidence(candidate: np.ndarray, champion: np.ndarray | None = None) -> Evidence:
    beside = None if champion is None else scored(champion)
    window = Window(NAMES, DAY, LABEL, pd.DataFrame(index=range(len(LABEL))))
    return Evidence(PARAMS, PROBLEM, window=window, candidate=scored(candidate), champion=beside)


def blurred(by: float, seed: int = 9) -> np.ndarray:
    return TRUTH + np.random.default_rng(seed).normal(0, by, len(TRUTH))


def on_bad_days(days: int, by: float) -> np.ndarray:
    """Perfect but for a few days on which everything is turned around."""
    return np.where(days > DAY, TRUTH * (1 - by), TRUTH)


def test_a_shade_worse_is_within_the_margin() -> None:
    e = evidence(blurred(0.05), TRUTH)
    for finding in (roc_auc(e), log_loss(e), metrics.cost(e)):
        assert finding is not None and finding.verdict == "PASS"


def test_a_metric_that_a_task_compares_is_a_rule_with_the_margin_of_its_key() -> None:
    gap = Metric("calibration", "gap of the means", "lower", lambda sums, w: abs(BRIER.of(sums, w)))
    task = Binary()
    task.compared = (*BINARY.compared, gap)
    names = [getattr(rule, "__name__", "") for rule in metrics.compared(task)]
    assert names == [
        *("roc_auc", "log_loss", "calibration"),
        *("anchor_roc_auc", "anchor_log_loss", "anchor_calibration"),
        "cost",
    ]
    found = metrics.not_worse(gap)(evidence(blurred(0.05), TRUTH))
    assert found is not None and found.rule == "calibration" and "Gap of the means" in found.sentence
    assert found.numbers["margin"] == PARAMS.gate.margin.calibration


@pytest.mark.parametrize("rule", [roc_auc, log_loss, metrics.cost])
def test_clearly_worse_is_a_fail_and_clearly_better_is_said(rule) -> None:
    worse = rule(evidence(blurred(1.0), TRUTH))
    assert worse.verdict == "FAIL" and "shown" in worse.sentence
    better = rule(evidence(TRUTH, blurred(1.0)))
    assert better.verdict == "PASS"
    assert rule is metrics.cost or "shown better" in better.sentence


@pytest.mark.parametrize("rule", [roc_auc, log_loss])
def test_a_loss_on_few_days_is_inconclusive_and_says_how_many_days_would_decide(rule) -> None:
    finding = rule(evidence(on_bad_days(2, 1.6), TRUTH))
    assert finding.verdict == "INCONCLUSIVE"
    needed = finding.numbers["days_to_decide"]
    assert needed > DAYS and f"about {needed} days" in finding.sentence


def test_the_days_to_decide_follow_the_square_root_law() -> None:
    # no loss at all and a half-width of twice the margin: four times the days pass it
    assert metrics._days_to_decide(30, 0.0, -0.02, 0.02, 0.01) == 120
    # a loss of the margin itself can only be shown worse: its lower half is twice as wide as it is
    assert metrics._days_to_decide(30, 0.01, -0.01, 0.03, 0.01) == 120
    # at once between half and the whole margin both ways are open, and the nearer one is named
    assert metrics._days_to_decide(30, 0.008, -0.001, 0.02, 0.01) == math.ceil(30 * (9 / 8) ** 2)


def test_sharper_probabilities_with_the_same_order_fail_on_log_loss_alone() -> None:
    e = evidence(TRUTH * 2.5, TRUTH)
    assert roc_auc(e).verdict == "PASS" and log_loss(e).verdict == "FAIL"


def test_acting_too_rarely_fails_on_cost() -> None:
    finding = metrics.cost(evidence(TRUTH - 1.5, TRUTH))
    assert finding.verdict == "FAIL" and "cost more" in finding.sentence


def test_floors_fail_only_where_the_whole_interval_is_below() -> None:
    nothing = evidence(np.random.default_rng(1).normal(-1, 0.1, len(TRUTH)))
    assert floor_roc_auc(nothing).verdict == "FAIL"
    assert floor_roc_auc(evidence(TRUTH)).verdict == "PASS"
    value = float(ROC_AUC.of(scored(TRUTH).sums, None))
    just_above = PARAMS.gate.floor.model_copy(update={"roc_auc": value + 0.001})
    strict = PARAMS.model_copy(update={"gate": PARAMS.gate.model_copy(update={"floor": just_above})})
    close = dataclasses.replace(evidence(TRUTH), params=strict)
    assert floor_roc_auc(close).verdict == "INCONCLUSIVE"


def test_brier_skill_is_measured_against_the_trainings_rate_and_not_vs_own() -> None:
    constant = np.full(len(TRUTH), math.log(0.28 / 0.72))
    honest = floor_brier_skill(evidence(constant))
    assert honest.numbers["candidate"] == pytest.approx(0, abs=1e-9)
    assert floor_brier_skill(evidence(TRUTH + 3)).verdict == "FAIL"


def test_one_class_in_v_is_inconclusive_and_not_a_pass() -> None:
    label = np.zeros(len(TRUTH), dtype=bool)
    p = 1 / (1 + np.exp(-TRUTH))
    alone = Scored(p, BINARY.sums(label, p, DAY, DAYS, 0.28, PARAMS.decision), 0.28)
    window = Window(NAMES, DAY, label, pd.DataFrame(index=range(len(label))))
    other = Scored(p / 2, BINARY.sums(label, p / 2, DAY, DAYS, 0.28, PARAMS.decision), 0.28)
    e = Evidence(PARAMS, PROBLEM, window=window, candidate=alone, champion=other)
    assert roc_auc(e).verdict == "INCONCLUSIVE"
    assert floor_roc_auc(e).verdict == "INCONCLUSIVE"


def test_nothing_gathered_is_inconclusive() -> None:
    assert gate.fold(rules.judge(Evidence(PARAMS, PROBLEM))) == "INCONCLUSIVE"
    assert gate.fold([]) == "INCONCLUSIVE"


def test_fail_comes_before_inconclusive_before_pass() -> None:
    verdicts = [Finding("a", "PASS", ""), Finding("b", "INCONCLUSIVE", ""), Finding("c", "FAIL", "")]
    assert gate.fold(verdicts) == gate.fold(verdicts[::-1]) == "FAIL"
    assert gate.fold(verdicts[:2]) == "INCONCLUSIVE" and gate.fold(verdicts[:1]) == "PASS"


def test_the_same_evidence_gets_the_same_numbers() -> None:
    first, second = (rules.judge(evidence(blurred(0.3), TRUTH)) for _ in range(2))
    assert first == second


def test_equal_pairs_seldom_fail_and_degraded_ones_seldom_pass() -> None:
    def verdict(candidate: np.ndarray, champion: np.ndarray) -> str:
        e = evidence(candidate, champion)
        return gate.fold([finding for rule in COMPARISON if (finding := rule(e))])

    equal = [verdict(blurred(0.15, seed), blurred(0.15, 100 + seed)) for seed in range(20)]
    degraded = [verdict(blurred(1.0, seed), blurred(0.15, 100 + seed)) for seed in range(20)]
    assert equal.count("PASS") >= 17 and equal.count("FAIL") <= 3
    assert degraded.count("FAIL") >= 19 and degraded.count("PASS") == 0


def test_a_rule_that_raises_is_inconclusive_by_its_name() -> None:
    def mine(e: Evidence) -> Finding | None:
        raise KeyError("gone")

    def fine(e: Evidence) -> Finding | None:
        return Finding("fine", "PASS", "Fine.")

    e = Evidence(PARAMS, PROBLEM)
    crashed, passed = rules.ask(e, [mine, fine])
    assert (crashed.rule, crashed.verdict) == ("mine", "INCONCLUSIVE") and "KeyError" in crashed.sentence
    assert passed.verdict == "PASS"
    (odd,) = rules.ask(e, [lambda e: "PASS"])  # type: ignore[list-item, return-value]
    assert odd.verdict == "INCONCLUSIVE" and "gave a str" in odd.sentence


@pytest.mark.parametrize(("sharper", "look"), [(1.0002, False), (1.05, True)])
def test_a_calibration_that_is_shown_farther_off_is_looked_at_where_it_is_so_by_something(
    sharper: float, look: bool
) -> None:
    """Twins differ by a hair on each row, so on each draw of the days too."""
    found = calibration(evidence(TRUTH * 1.3 * sharper, TRUTH * 1.3))
    assert found is not None and found.verdict == "PASS" and found.numbers["slope_low"] > 0
    assert (found.warning, "shown farther off" in found.sentence) == (look, look)

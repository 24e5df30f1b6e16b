"""The statistics agree with sklearn.metrics and with brute force, on made-up days."""

import math

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from pipelines.core import stats
from pipelines.core.params import Decision
from pipelines.core.tasks.binary import BINARY, BRIER, COST, LOG_LOSS, ROC_AUC

SEEDS = range(12)


def made_up(seed: int, days: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities (with ties, 0 and 1) and days, of very different sizes."""
    draw = np.random.default_rng(seed)
    day = np.sort(np.concatenate([np.arange(days), draw.integers(0, days, 300) // draw.integers(1, 3, 300)]))
    p = np.round(draw.beta(1, 3, len(day)), 2)
    label = draw.random(len(day)) < 0.8 * p + 0.1
    return label, p, day


@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_of_the_days_as_they_were_equal_sklearns(seed: int) -> None:
    label, p, day = made_up(seed)
    sums = stats.day_sums(label, p, day, 9)
    assert stats.roc_auc(sums) == pytest.approx(metrics.roc_auc_score(label, p), abs=1e-12)
    assert LOG_LOSS.of(sums, None) == pytest.approx(metrics.log_loss(label, p), abs=1e-12)
    assert BRIER.of(sums, None) == pytest.approx(metrics.brier_score_loss(label, p), abs=1e-12)
    constant = metrics.brier_score_loss(label, np.full(len(p), 0.3))
    assert stats.brier_skill(sums, 0.3) == pytest.approx(1 - BRIER.of(sums, None) / constant, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_resample_of_the_days_equals_the_metric_of_the_repeated_rows(seed: int) -> None:
    label, p, day = made_up(seed)
    sums = BINARY.sums(label, p, day, 9, 0.3, Decision(false_alarm=1.0, miss=3.0))
    weights = stats.day_weights(9, 20, seed)
    aucs, losses, costs = (metric.of(sums, weights) for metric in (ROC_AUC, LOG_LOSS, COST))
    for index, weight in enumerate(weights):
        rows = np.repeat(np.arange(len(p)), weight[day])
        assert aucs[index] == pytest.approx(metrics.roc_auc_score(label[rows], p[rows]), abs=1e-12)
        assert losses[index] == pytest.approx(metrics.log_loss(label[rows], p[rows]), abs=1e-12)
        act = p[rows] >= 0.25
        cost = np.where(act & ~label[rows], 1.0, np.where(~act & label[rows], 3.0, 0.0)).mean()
        assert costs[index] == pytest.approx(cost, abs=1e-12)


def test_metrics_that_do_not_exist_are_nan_and_never_a_number() -> None:
    one_class = stats.day_sums(np.zeros(4, bool), np.linspace(0, 1, 4), np.array([0, 0, 1, 1]), 2)
    assert math.isnan(stats.roc_auc(one_class))
    assert all(math.isnan(end) for end in stats.interval(np.array([0.1, math.nan, 0.2])))
    empty = stats.day_sums(np.zeros(0, bool), np.zeros(0), np.zeros(0, int), 2)
    assert math.isnan(LOG_LOSS.of(empty, None))


@pytest.mark.parametrize("block", [1, 3, 7, 50])
def test_weights_are_whole_days_and_the_same_for_the_same_seed(block: int) -> None:
    weights = stats.day_weights(28, 500, 7, block)
    assert weights.shape == (500, 28)
    assert (weights.sum(axis=1) == 28).all() and (weights >= 0).all()
    assert (weights == stats.day_weights(28, 500, 7, block)).all()
    assert block == 50 or (weights != stats.day_weights(28, 500, 8, block)).any()


def test_single_days_are_multinomial_and_blocks_of_three_keep_neighbours_together() -> None:
    def shared(block: int) -> float:
        weights = stats.day_weights(30, 4000, 1, block) - 1.0
        return float((weights * np.roll(weights, 1, axis=1)).mean() / (weights**2).mean())

    assert stats.day_weights(30, 4000, 1, 1).var() == pytest.approx(1 - 1 / 30, abs=0.02)
    assert shared(1) == pytest.approx(-1 / 29, abs=0.02)
    assert shared(3) == pytest.approx(2 / 3, abs=0.06)


def test_blocks_widen_the_interval_where_neighbouring_days_are_alike_and_only_there() -> None:
    def width(values: np.ndarray, block: int) -> float:
        low, high = stats.interval(stats.day_weights(len(values), 3000, 2, block) @ values / len(values))
        return high - low

    draw = np.random.default_rng(5)
    steps = draw.standard_normal(600)
    alike = np.array([steps[: i + 1] @ 0.5 ** np.arange(i, -1, -1) for i in range(len(steps))])
    assert width(alike, 3) > 1.15 * width(alike, 1)
    assert width(steps, 3) < 1.15 * width(steps, 1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw, covered = np.random.default_rng(11), 0
    for trial in range(300):
        values = draw.standard_normal(28)
        low, high = stats.interval(stats.day_weights(28, 400, trial, 1) @ values / 28)
        covered += low <= 0 <= high
    assert 0.83 <= covered / 300 <= 0.94


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_equals_an_unpenalised_logistic_regression(seed: int) -> None:
    label, p, _ = made_up(seed)
    p = np.clip(p, 0.01, 0.99)
    fit = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(np.log(p / (1 - p))[:, None], label)
    intercept, slope = stats.calibration(label, p)
    assert slope == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    moved = 1 / (1 + np.exp(-np.log(p / (1 - p)) - intercept))
    assert moved.mean() == pytest.approx(label.mean(), abs=1e-9), "in the large: as many as there are"


def test_calibration_says_which_way_a_model_is_wrong() -> None:
    draw = np.random.default_rng(3)
    logit = draw.standard_normal(200_000)
    label = draw.random(len(logit)) < 1 / (1 + np.exp(-logit))
    assert stats.calibration(label, 1 / (1 + np.exp(-logit))) == pytest.approx((0, 1), abs=0.02)
    assert stats.calibration(label, 1 / (1 + np.exp(-2 * logit)))[1] == pytest.approx(0.5, abs=0.01)
    assert stats.calibration(label, 1 / (1 + np.exp(-logit - 1)))[0] == pytest.approx(-1, abs=0.02)
    assert math.isnan(stats.calibration(label, np.full(len(label), 0.3))[1])


def test_psi_equals_its_formula_and_survives_an_empty_bin() -> None:
    expected, observed = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    by_hand = sum((o - e) * math.log(o / e) for e, o in zip(expected, observed, strict=True))
    assert stats.psi(expected, observed) == pytest.approx(by_hand)
    assert stats.psi(1000 * expected, observed) == pytest.approx(by_hand)
    assert stats.psi(expected, expected) == 0
    assert stats.psi([0.5, 0.5, 0], [0.5, 0.499, 0.001]) < 0.01  # one row in a new bin is not a drift
    assert stats.psi([0.9, 0.1, 0], [0.5, 0.1, 0.4]) > 1
    assert math.isnan(stats.psi(expected, [0, 0, 0])) and math.isnan(stats.psi([math.nan] * 3, expected))


def test_bins_of_a_number_hold_equal_shares_and_know_missing_values() -> None:
    values = np.random.default_rng(1).standard_normal(10_000)
    found = stats.bins(values)
    assert len(found.edges) == 9
    assert found.frequencies(values) == pytest.approx([0.1] * 10 + [0], abs=0.001)
    assert found.frequencies([*values[:50], math.nan, None])[-1] == pytest.approx(2 / 52)
    assert stats.psi(found.frequencies(values), found.frequencies(values + 1)) > 0.5
    assert len(stats.bins([1.0] * 50).edges) == 0
    assert stats.bins([0.0] * 90 + [1.0] * 10).frequencies([0.0, 1.0, 1.0, 1.0])[-1] == 0
    assert np.isnan(found.frequencies([])).all()


def test_bins_of_a_category_keep_the_frequent_values_and_one_bin_for_the_others() -> None:
    found = stats.bins(["a"] * 5 + ["b"] * 3 + ["c"], category=True, count=2)
    assert found == stats.Bins(values=("a", "b"))
    assert found.frequencies(["a", "b", "c", "zzz", None]) == pytest.approx([0.2, 0.2, 0.4, 0.2])


@pytest.mark.parametrize("auc", [0.5, 0.8])
@pytest.mark.parametrize(("one", "other"), [(30, 30), (5, 100), (100, 5)])
def test_the_error_of_an_auc_is_that_of_many_windows(auc: float, one: int, other: int) -> None:
    draw, apart = np.random.default_rng(2), np.sqrt(2) * stats.normal(auc)
    above = [(draw.normal(apart, 1, one)[:, None] > draw.normal(0, 1, other)).mean() for _ in range(3000)]
    assert stats.auc_error(auc, one, other) == pytest.approx(np.std(above), rel=0.08)


def test_rows_that_share_their_day_are_as_many_as_the_days() -> None:
    draw, day = np.random.default_rng(3), np.repeat(np.arange(40), 25)
    of_day, of_row = draw.normal(size=40)[day], draw.normal(size=1000)
    assert stats.effective(of_day, day) == pytest.approx(40, rel=0.05)
    assert 700 < stats.effective(of_row, day) <= 1000
    assert 60 < stats.effective(of_day + 2 * of_row, day) < 400
    assert stats.effective(of_row, np.arange(1000)) == 1000  # each row a day
    assert stats.effective(np.ones(1000), day) == 40  # nothing tells whether the rows of a day are alike
    assert stats.effective(of_row, np.zeros(1000)) == 1  # one day


def test_what_an_answer_knows_is_scikit_learns_auc_ties_included() -> None:
    draw = np.random.default_rng(6)
    label, answers = draw.random(500) < 0.2, np.round(draw.random(500), 1)
    assert BINARY.knows(label, answers) == pytest.approx(metrics.roc_auc_score(label, answers), abs=1e-12)

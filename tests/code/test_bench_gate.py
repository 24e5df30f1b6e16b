"""The benchmark of the gate measures what it says: made-up rows, on which the truth is known."""

import dataclasses
import fnmatch
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import _pairs, gate
from pipelines.core import stats
from pipelines.core.tasks.binary import LOG_LOSS, ROC_AUC
from pipelines.core.tasks.task import Metric
from pipelines.problem import PROBLEM  # the benchmark measures the problem in the room
from tests import project
from tests.problems.parcels import PARAMS

ROOT = Path(__file__).parents[2]
DAYS, ROWS = 56, 60  # a day
DRAW = np.random.default_rng(8)
TRUTH = DRAW.normal(-1.0, 1.2, DAYS * ROWS)  # logits
LABEL = DRAW.random(len(TRUTH)) < _pairs.probabilities(TRUTH)
CONTRACT = PROBLEM.contract
ITS = dataclasses.replace(_pairs.subject("binary"), params=PARAMS)
HEAT, DELAY = _pairs.subject("regression"), _pairs.subject("multiclass")


def made(**answers: np.ndarray) -> _pairs.Later:
    """Eight weeks after a cut; the champion knows the truth."""
    time = pd.Series(np.repeat(pd.date_range("2013-04-01", periods=DAYS), ROWS))
    names = tuple(time.dt.strftime("%Y-%m-%d").unique())
    rows = pd.DataFrame({CONTRACT.time.name: time})
    day = np.repeat(np.arange(DAYS), ROWS)
    return _pairs.Later(
        "2013-03", 0.28, names, day, LABEL, rows, {"champion": _pairs.probabilities(TRUTH), **answers}
    )


def verdicts(candidate: np.ndarray) -> dict[str, str]:
    its = made(candidate=candidate)
    (case,) = gate.judged(its, "all", np.arange(DAYS), ["candidate"], ITS)
    return {judge: case[judge] for judge in gate.JUDGES}


def blurred(by: float) -> np.ndarray:
    return _pairs.probabilities(TRUTH + np.random.default_rng(5).normal(0, by, len(TRUTH)))


def test_the_champion_itself_passes_everywhere() -> None:
    assert set(verdicts(_pairs.probabilities(TRUTH)).values()) == {"PASS"}


def test_a_blatantly_bad_candidate_fails_everywhere() -> None:
    assert set(verdicts(blurred(3.0)).values()) == {"FAIL"}
    assert verdicts(_pairs.probabilities(-TRUTH))["gate"] == "FAIL"


@pytest.mark.parametrize(("metric", "margin"), [(LOG_LOSS, 0.005), (ROC_AUC, 0.010)])
def test_a_pair_at_the_margin_loses_the_margin(metric: Metric, margin: float) -> None:
    champion = _pairs.probabilities(TRUTH)
    candidate = _pairs.losing(LABEL, champion, blurred(3.0), metric, ITS)
    lost = [ITS.lost(metric, LABEL, answers) for answers in (candidate, champion)]
    assert lost[0] - lost[1] == pytest.approx(margin, abs=1e-6)


def test_of_a_number_it_loses_its_share_of_the_champions_loss() -> None:
    label = 60 + 10 * TRUTH
    champion, other = (label + DRAW.normal(0, by, len(label)) for by in (3, 9))
    for metric, share in zip(HEAT.task.compared, (0.08, 0.10), strict=True):
        candidate = _pairs.losing(label, champion, other, metric, HEAT)
        lost = [HEAT.lost(metric, label, answers) for answers in (candidate, champion)]
        assert lost[0] / lost[1] - 1 == pytest.approx(share, abs=1e-6)


def test_of_classes_it_loses_the_margin_too_and_its_probabilities_are_some() -> None:
    p = DRAW.dirichlet((5, 2, 1), len(TRUTH))
    label = (p.cumsum(axis=1) < DRAW.random((len(p), 1))).sum(axis=1)
    other = _pairs.probabilities(_pairs.logits(p) + DRAW.normal(0, 3, p.shape))
    for metric in DELAY.task.compared:
        candidate = _pairs.losing(label, p, other, metric, DELAY)
        lost = [DELAY.lost(metric, label, answers) for answers in (candidate, p)]
        assert lost[0] - lost[1] == pytest.approx(0.015, abs=1e-6)
        assert not DELAY.task.wrong(candidate)[0].any()


def test_what_is_better_than_the_margin_cannot_be_made_to_lose_it() -> None:
    with pytest.raises(ValueError, match="sign"):
        _pairs.losing(LABEL, _pairs.probabilities(TRUTH), blurred(0.01), LOG_LOSS, ITS)


def test_every_pair_at_the_margin_is_counted_and_no_other() -> None:
    later = made(undertrained=blurred(2.0), **{"no weather": blurred(2.0)})
    pairs = dict(_pairs.at_the_margin(later, ITS))
    assert sorted(pairs) == sorted(
        name for names in gate.kinds(ITS)["at the margin"].values() for name in names
    )
    for name, p in pairs.items():
        metric = LOG_LOSS if name.startswith("log-loss") else ROC_AUC
        lost = [ITS.lost(metric, LABEL, answers) for answers in (p, later.answers["champion"])]
        assert lost[0] - lost[1] > 0.0049


def test_windows_slide_by_weeks_and_are_drawn_in_weeks() -> None:
    its = made()
    assert [list(chosen[[0, -1]]) for _, chosen in gate.sliding(its, 28)] == [
        [0, 27],
        [7, 34],
        [14, 41],
        [21, 48],
    ]
    assert len(list(gate.sliding(its, 56))) == 1
    draws = [chosen for _, chosen in gate.drawn(its, 28)]
    assert len(draws) == gate.DRAWN and any((a != b).any() for a, b in itertools.pairwise(draws))
    for chosen in draws:
        weeks = chosen.reshape(-1, 7)
        assert (weeks[:, 0] % 7 == 0).all() and (np.diff(weeks, axis=1) == 1).all() and weeks.max() < DAYS
    short = dataclasses.replace(its, days=its.days[:49])
    assert not list(gate.drawn(short, 28))


def test_rows_dealt_into_groups_spread_as_single_rows_do() -> None:
    """And days that are alike within spread more: else the rival would be no other judge than the gate."""
    mood = np.repeat(np.random.default_rng(3).normal(0, 0.5, DAYS), ROWS)
    values = mood + np.random.default_rng(4).normal(0, 1, len(mood))
    day = np.repeat(np.arange(DAYS), ROWS)

    def spread(group: np.ndarray) -> float:
        groups = group.max() + 1
        weights = stats.day_weights(groups, 2000, 6)
        sums = np.bincount(group, weights=values, minlength=groups)
        return float((weights @ sums / (weights @ np.bincount(group, minlength=groups))).std())

    by_rows = values.std() / np.sqrt(len(values))
    assert spread(gate.deal(len(values))) == pytest.approx(by_rows, rel=0.2)
    assert spread(day) > 2 * by_rows


def test_the_interval_of_a_rate_takes_cuts_for_its_unit() -> None:
    alike = np.array([[8, 8]] * 4 + [[0, 8]] * 4)  # within a cut all agree: eight facts, not 64
    mixed = np.array([[4, 8]] * 8)
    assert gate.share(alike)[0] == gate.share(mixed)[0] == 0.5
    assert gate.share(alike)[2] - gate.share(alike)[1] > 0.4 > gate.share(mixed)[2] - gate.share(mixed)[1]
    rate, low, high = gate.share(np.array([[0, 8]] * 9))
    assert (rate, low) == (0, 0) and 0.2 < high < 0.3  # nine agreeing cuts are not proof of never


@pytest.mark.parametrize("its", [ITS, HEAT, DELAY], ids=["binary", "regression", "multiclass"])
def test_faults_change_what_they_say_and_nothing_else(its: _pairs.Subject) -> None:
    rows = project.rows(contract=its.contract)
    foreign = {c.name for c in its.contract.features if c.unit in _pairs.METRIC}
    assert changed(rows, _pairs.metric(rows, its)) == foreign - {
        "distance",
        "miles",
        "air_change",
    }  # not of a station
    late = _pairs.clock(rows, its)
    assert changed(rows, late) == set(its.clock)
    assert all(((late[n] - rows[n]) % day == hour).all() for n, (hour, day) in its.clock.items())


def changed(one: pd.DataFrame, other: pd.DataFrame) -> set[str]:
    return {name for name in one.columns if not one[name].equals(other[name])}


def test_the_lost_value_is_the_one_that_tells_most() -> None:
    rows = pd.DataFrame(
        {
            CONTRACT.slices[0].name: ["common"] * 60 + ["telling"] * 30 + ["safe"] * 20 + ["rare"] * 2,
            CONTRACT.label.name: [False, True] * 30 + [True] * 30 + [False] * 20 + [True] * 2,
        }
    )
    assert set(rows[_pairs.oddest(rows, ITS)][CONTRACT.slices[0].name]) == {"telling"}


def test_a_wrong_label_is_the_other_one_of_two_or_that_of_another_row() -> None:
    draw = np.random.default_rng(1)
    flags, numbers = pd.Series(LABEL), pd.Series(TRUTH)
    assert (_pairs.mistaken(flags, draw, 0.2) != flags).mean() == pytest.approx(0.2, abs=0.02)
    wrong = _pairs.mistaken(numbers, draw, 0.2)
    assert (wrong != numbers).mean() == pytest.approx(0.2, abs=0.02) and set(wrong) <= set(numbers)


@pytest.mark.parametrize("its", [ITS, HEAT, DELAY], ids=["binary", "regression", "multiclass"])
def test_rates_and_table_have_every_kind_and_length(its: _pairs.Subject) -> None:
    kinds = gate.kinds(its)
    alone = {kind: pairs for of in kinds.values() for kind, pairs in of.items()}
    said = dict.fromkeys(gate.JUDGES, "PASS") | {metric.key: 0.0 for metric in its.task.compared}
    cases = pd.DataFrame(
        [
            {"cut": cut, "days": days, "pair": pair, "beyond": True, **said}
            for cut in ("2013-03", "2013-04")
            for days in gate.LENGTHS
            for pairs in alone.values()
            for pair in pairs
        ]
    )
    rates = gate.summed(cases, its)
    rows = len(gate.LENGTHS) * (len(alone) + len(kinds) + 1)
    assert len(gate.table(rates, cases, its).splitlines()) == 2 + rows
    recorded = gate.recorded(rates, its)["rates"]
    assert recorded["28"]["equal"]["pass"]["rate"] == 1 and recorded["56"]["degraded"]["fail"]["rate"] == 0


def test_make_bench_runs_benchmarks_and_not_their_parts() -> None:
    files = [path.name for path in (ROOT / "benchmarks").glob("*.py")]
    run = [name for name in files if fnmatch.fnmatchcase(name, "[a-z]*.py")]
    assert "gate.py" in run and "_pairs.py" in files and "_pairs.py" not in run
    assert all('if __name__ == "__main__":' in (ROOT / "benchmarks" / name).read_text() for name in run)

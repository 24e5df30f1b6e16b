"""Shown worse or not: what must be found, what must not, and what Envoy's histograms say."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks import analysis as simulated
from pipelines.edge.edge import Counters
from pipelines.rollout.analysis import (
    Spells,
    against_a_coin,
    beyond,
    evidence,
    shown_worse,
    slow_above,
)

LIVE = Counters(10_000, 10)
QUIET = Spells()


@dataclass(frozen=True)
class Limits:
    errors: float = 0.005
    slower: float = 2.0
    level: float = 0.01


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (Counters(10, 10), "fails 10 of 10 requests (100 %), the live one 10 of 10,000 requests (0.1 %)"),
        (Counters(300, 15), "fails 15 of 300 requests (5 %)"),
    ],
)
def test_what_fails_more_is_shown_with_its_numbers(new: Counters, words: str) -> None:
    said = shown_worse(LIVE, new, QUIET, Limits())
    assert said is not None and words in said


@pytest.mark.parametrize(
    "new",
    [
        Counters(0, 0),
        Counters(1, 1),
        Counters(10_000, 10),
        Counters(100_000, 500),  # more errors, by less than the margin
        Counters(100, 2),  # worse, perhaps, but that is not shown
    ],
)
def test_what_is_equal_or_within_the_limits_or_unknown_is_not_shown_worse(new: Counters) -> None:
    assert shown_worse(LIVE, new, QUIET, Limits()) is None


def spells(*halves: tuple[tuple[int, int], tuple[int, int]]) -> Spells:
    """Each: the live colour's requests and slow ones, the new one's."""
    found = Spells()
    for live, new in halves:
        found = found.and_then(live, new, Limits())
    return found


def test_what_is_slow_again_and_again_is_shown_with_its_numbers() -> None:
    slow = ((100, 1), (100, 9))
    said = shown_worse(LIVE, LIVE, spells(*[slow] * 12), Limits())
    assert said is not None and "in 12 of 12 half-seconds" in said
    assert shown_worse(LIVE, LIVE, spells(*[slow] * 5), Limits()) is None  # one pause is not a slow release
    equal = ((100, 1), (100, 2))  # by less than the ratio
    assert shown_worse(LIVE, LIVE, spells(*[slow, equal] * 100), Limits()) is None


def test_a_slow_machine_and_a_silent_half_second_tell_nothing_against_the_new_one() -> None:
    assert spells(((100, 90), (100, 95)), ((50, 0), (50, 0)), ((0, 0), (9, 9)), ((9, 9), (0, 0))) == Spells(
        1, 0
    )


def test_a_live_colour_that_fails_as_much_excuses_the_new_one() -> None:
    assert shown_worse(Counters(1_000, 200), Counters(1_000, 200), QUIET, Limits()) is None
    assert shown_worse(Counters(1_000, 0), Counters(1_000, 200), QUIET, Limits()) is not None


@pytest.mark.parametrize("asked", [0, 1, 20])
def test_a_release_that_only_fails_is_found_also_where_the_live_one_was_hardly_asked(asked: int) -> None:
    said = shown_worse(Counters(asked, 0), Counters(30, 30), QUIET, Limits())
    assert said is not None and ("was not asked (taken for 1 %)" in said) == (asked == 0)


def test_a_smaller_level_asks_for_more() -> None:
    new = Counters(150, 8)
    assert shown_worse(LIVE, new, QUIET, Limits()) is not None
    assert shown_worse(LIVE, new, QUIET, Limits(level=1e-9)) is None


def test_the_coin_s_evidence_is_the_mixture_over_a_fair_coin() -> None:
    """By brute force: the integral over Jeffreys' prior."""
    p = (np.arange(200_000) + 0.5) / 200_000
    mixed = np.log(np.average(p**9 * (1 - p) ** 2, weights=(p * (1 - p)) ** -0.5))
    assert against_a_coin(9, 11) == pytest.approx(mixed - 11 * np.log(0.5), abs=0.01)
    assert against_a_coin(5, 11) == against_a_coin(0, 0) == 0.0


def test_the_evidence_is_the_mixture_over_the_best_allowed_likelihood() -> None:
    """By brute force: the integral over the prior, and every allowed pair of a grid."""
    live, asked, new, news = 3, 50, 9, 30
    p = (np.arange(200_000) + 0.5) / 200_000
    prior = p**-0.5 * (1 - p) ** 4
    mixed = [
        np.log(np.average(p**k * (1 - p) ** (n - k), weights=prior)) for k, n in ((live, asked), (new, news))
    ]
    grid = np.linspace(0.001, 0.99, 991)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    likelihood = (
        live * np.log(a) + (asked - live) * np.log1p(-a) + new * np.log(b) + (news - new) * np.log1p(-b)
    )
    best = likelihood[b <= a + 0.05].max()
    found = evidence(live, asked, new, news, 0.05)
    assert found == pytest.approx(sum(mixed) - best, abs=0.02)


def test_looking_after_every_batch_keeps_the_level_also_where_both_limits_are_met_exactly() -> None:
    """And the rival's does not, so these deploys can be told from worse ones no better by luck."""
    kind = simulated.Kind("at both limits", share=0.5, more=Limits.errors, twice=True)
    looks = np.arange(1, 101) * 100
    played = simulated.play(kind, 500, looks)
    shown = sum(found is not None for found in simulated.first_shown(played, simulated.LIMITS))
    assert shown <= 5
    critical = 2.58
    naive = simulated.z(played.new_errors, played.asked, played.live_errors, played.live_asked) > critical
    assert naive.any(axis=1).mean() > 0.5


def test_a_worse_release_of_the_simulation_is_found() -> None:
    kind = simulated.Kind("5 % errors", share=0.5, errors=0.0, more=0.05)
    found = simulated.first_shown(simulated.play(kind, 50, np.arange(1, 101) * 100), simulated.LIMITS)
    assert None not in found


def test_the_bound_is_the_smallest_that_holds_the_share_and_what_is_beyond_is_counted() -> None:
    cumulative = [(1.0, 50), (5.0, 98), (10.0, 99), (25.0, 100)]
    assert slow_above(cumulative) == 10.0
    assert slow_above(cumulative, share=0.98) == 5.0
    assert beyond(cumulative, 10.0) == 1
    assert beyond([(1.0, 3), (11.0, 8)], 10.0) == 5  # a later histogram, which lacks the bound's bin
    assert beyond([(11.0, 8)], 10.0) == 8


def test_without_requests_nothing_is_slow() -> None:
    assert slow_above([]) == slow_above([(1.0, 0), (5.0, 0)]) == math.inf
    assert beyond([], math.inf) == 0
    assert beyond([(1.0, 4)], math.inf) == 0

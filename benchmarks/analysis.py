"""How often an equal release is rolled back, and how soon a worse one is: `make bench ONLY=analysis`.

Deploys are simulated and looked at after every few requests, each look half a second after the one before,
as CANARY and BAKE do it. Nothing of what the test knows is given to it: the bound beyond which a request is
slow comes from an earlier sample of the live colour, in whole milliseconds as Envoy counts them.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm  # type: ignore[import-untyped]

from benchmarks import figure, run, workers
from pipelines.core.params import Analysis
from pipelines.edge.edge import Counters
from pipelines.rollout.analysis import Spells, shown_worse, slow_above

DEPLOYS, WORSE = 10_000, 1_000  # simulated of each kind
PROCESSES = 2
MEDIAN, SPREAD = 4.0, 0.6  # of the log-normal latencies, in ms: p99 is 16 ms
EARLIER = 10_000  # requests of the live colour before the deploy
LOOKS = 300
BURST, CALM = 5, 95  # looks; a slow spell makes everything
SLOWER = 3.0  # times slower
COLD, WARM = 2.0, 20  # the new one's first requests are so many times slower; so many of them
LIMITS = Analysis()
LATE = 600  # looks after which a worse release counts as never found


@dataclass(frozen=True)
class Kind:
    """A kind of deploy. `share` of the requests go to the new one while it is looked at; the live one gets
    the others, or in BAKE copies, as many."""

    name: str
    share: float = 0.1
    errors: float = 0.001  # of the live one
    more: float = 0.0  # of the new one
    bursts: bool = False  # slow spells, which hit both
    cold: bool = False
    times: float = 1.0  # the new one's latencies
    tail: float = 1.0  # those of its requests slower than 95 of 100
    twice: bool = False  # the new one is beyond the bound exactly `LIMITS.slower` times as often
    batch: int = 100  # requests between two looks
    earlier: int = EARLIER


EQUAL = [
    Kind("no errors", errors=0.0),
    Kind("0.1 % errors"),
    Kind("1 % errors", errors=0.01),
    Kind("slow spells", bursts=True),
    Kind("cold start", cold=True),
    Kind("few requests before", earlier=200),
    Kind("at both limits", more=LIMITS.errors, twice=True),
]
DEGRADED = [
    Kind("every answer 500", errors=0.0, more=1.0),
    Kind("5 % errors", errors=0.0, more=0.05),
    Kind("1 % errors", errors=0.0, more=0.01),
    Kind("all latencies doubled", times=2.0),
    Kind("the slowest 5 % doubled", tail=2.0),
]
BESIDE = (("canary 10 %", 0.1), ("bake", 0.5))  # the live one gets the others, or copies of all, at that time


@dataclass(frozen=True)
class Played:
    """D deploys at L looks: the counts since the beginning, of shape (D, L)."""

    asked: np.ndarray  # (L,) requests of the new one
    new_errors: np.ndarray
    new_slow: np.ndarray
    live_asked: np.ndarray  # (L,)
    live_errors: np.ndarray
    live_slow: np.ndarray


def main() -> None:
    steps = {share: name for name, share in BESIDE}
    equal = [replace(kind, share=share) for _, share in BESIDE for kind in EQUAL]
    worse = [replace(kind, share=share) for _, share in BESIDE for kind in DEGRADED]
    with workers(PROCESSES) as pool:
        for kind, (own, naive) in zip(equal, pool.imap(false_rollbacks, equal), strict=True):
            name = f"{steps[kind.share]}: {kind.name}"
            percent = 100 * LIMITS.level
            goal = () if kind.twice else (f"<= {percent:g}", own <= percent)  # at the limits is not equal
            figure(f"{name}: rolled back", own, "%", *goal)
            figure(f"{name}: by z at each look", naive, "%")
        for kind, (median, late, found) in zip(worse, pool.imap(delays, worse), strict=True):
            name = f"{steps[kind.share]}: {kind.name}"
            figure(f"{name}: found", found, "%")
            figure(f"{name}: median", median, "asked")
            figure(f"{name}: p95", late, "asked")


def false_rollbacks(kind: Kind) -> tuple[float, float]:
    """The percentage of deploys that are rolled back at some look: by this test, and by a rival that tests
    two proportions at each look, each question at half the level."""
    looks = np.arange(1, LOOKS + 1) * kind.batch
    played = play(kind, DEPLOYS, looks)
    own = np.mean([found is not None for found in first_shown(played, LIMITS)])
    critical = norm.isf(LIMITS.level / 2)
    errors = z(played.new_errors, played.asked, played.live_errors, played.live_asked)
    slow = z(played.new_slow, played.asked, played.live_slow, played.live_asked)
    return 100 * float(own), 100 * float(np.mean((np.maximum(errors, slow) > critical).any(axis=1)))


def delays(kind: Kind) -> tuple[float, float, float]:
    """Requests of the new one until it is shown worse, median and p95 (infinite: not within LATE looks), and
    the percentage found at all."""
    played = play(kind, WORSE, np.arange(1, LATE + 1) * kind.batch)
    at = [np.inf if look is None else float(played.asked[look]) for look in first_shown(played, LIMITS)]
    median, late = np.quantile(at, [0.5, 0.95], method="higher")
    return float(median), float(late), 100 * float(np.mean(np.isfinite(at)))


def first_shown(played: Played, limits: Analysis) -> list[int | None]:
    """The look at which each deploy is first shown worse; a half-second is between two looks."""
    return [_first(played, deploy, limits) for deploy in range(len(played.new_errors))]


def _first(played: Played, deploy: int, limits: Analysis) -> int | None:
    live_errors, new_errors = played.live_errors[deploy].tolist(), played.new_errors[deploy].tolist()
    live_slow, new_slow = (
        np.diff(slow[deploy], prepend=0).tolist() for slow in (played.live_slow, played.new_slow)
    )
    live_its, new_its = (np.diff(asked, prepend=0).tolist() for asked in (played.live_asked, played.asked))
    spells = Spells()
    for look, (live_asked, asked) in enumerate(zip(played.live_asked, played.asked, strict=True)):
        spells = spells.and_then((live_its[look], live_slow[look]), (new_its[look], new_slow[look]), limits)
        live, new = Counters(int(live_asked), live_errors[look]), Counters(int(asked), new_errors[look])
        if shown_worse(live, new, spells, limits):
            return look
    return None


def z(new: np.ndarray, asked: np.ndarray, live: np.ndarray, live_asked: np.ndarray) -> np.ndarray:
    """The statistic of two proportions, pooled: positive where the new one's is larger."""
    pooled = (new + live) / (asked + live_asked)
    error = np.sqrt(pooled * (1 - pooled) * (1 / asked + 1 / live_asked))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num((new / asked - live / live_asked) / error, posinf=0.0, neginf=0.0)


def play(kind: Kind, deploys: int, looks: np.ndarray) -> Played:
    """Simulate; `looks` are the requests of both colours by then."""
    draw = np.random.default_rng([len(kind.name), deploys, round(100 * kind.share)])
    before = np.full(kind.earlier // kind.batch, kind.batch)
    spells = slowness(kind, draw, deploys, len(before) + len(looks))
    bounds = measured_before(draw, np.repeat(spells[:, : len(before)], kind.batch, axis=1))
    spells = spells[:, len(before) :]
    asked = np.maximum(1, np.round(looks * kind.share)).astype(int)
    its, others = np.diff(asked, prepend=0), np.diff(looks - asked, prepend=0)
    live_share = exceeds(bounds[:, None], spells)
    new_share = exceeds(bounds[:, None], spells * kind.times)
    if kind.tail != 1:  # beyond the bound, or in the slow part and beyond it once it is slower
        new_share = np.minimum(0.05, exceeds(bounds[:, None], spells * kind.tail))
    if kind.twice:
        new_share = np.minimum(1.0, LIMITS.slower * live_share)
    slow = draw.binomial(its, new_share)
    if kind.cold:
        cold = np.diff(np.minimum(asked, WARM), prepend=0)
        slow = draw.binomial(its - cold, new_share)
        slow += draw.binomial(cold, exceeds(bounds[:, None], spells * COLD))
    failed = draw.binomial(its, min(1.0, kind.errors + kind.more), slow.shape)
    live_asked = np.cumsum(others)
    live_slow = np.cumsum(draw.binomial(others, live_share), axis=1)
    live_errors = np.cumsum(draw.binomial(others, kind.errors, slow.shape), axis=1)
    return Played(
        asked,
        np.cumsum(failed, axis=1),
        np.cumsum(slow, axis=1),
        np.maximum(live_asked, 1),
        live_errors,
        live_slow,
    )


def slowness(kind: Kind, draw: np.random.Generator, deploys: int, looks: int) -> np.ndarray:
    """How many times slower than usual both colours are between two looks: (D, L)."""
    if not kind.bursts:
        return np.ones((deploys, looks))
    slow = np.empty((deploys, looks), dtype=bool)
    now = draw.random(deploys) < BURST / (BURST + CALM)
    for look in range(looks):
        now ^= draw.random(deploys) < np.where(now, 1 / BURST, 1 / CALM)
        slow[:, look] = now
    return np.where(slow, SLOWER, 1.0)


def measured_before(draw: np.random.Generator, spells: np.ndarray) -> np.ndarray:
    """Each deploy's bound, from as many earlier requests of the live one as `spells` has."""
    bounds = np.empty(len(spells))
    for deploy, its in enumerate(spells):
        took = np.floor(its * MEDIAN * np.exp(SPREAD * draw.standard_normal(len(its)))).astype(int)
        counts = np.cumsum(np.bincount(took)).tolist()
        bounds[deploy] = slow_above([(float(ms), count) for ms, count in enumerate(counts)])
    return bounds


def exceeds(bounds: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The true share of requests of more whole milliseconds than the bound."""
    return norm.sf(np.log((bounds + 1) / (times * MEDIAN)) / SPREAD)


if __name__ == "__main__":
    run(main)

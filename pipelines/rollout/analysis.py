"""Whether the new slot is shown worse than the live colour: a test that may be asked after every request.

The usual tests hold their level for one look. Looked at again and again they find a difference between equals
sooner or later, and whoever looks often to be fast rolls good releases back. This one holds its level over
all looks together, so there is no schedule of looks, and waiting longer costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, xlog1py, xlogy  # type: ignore[import-untyped]

from pipelines.core.params import Analysis
from pipelines.edge.edge import Counters

SHARE = 0.99  # a request is slow beyond the bound that holds so many of the live colour's
UNASKED = 0.01  # a live colour that nobody asked is taken to fail no more often than this
UNLIKELY = 0.5  # nor are a handful of requests taken for one that fails half of them, unless it did
PRIOR = (0.5, 5.0)  # a beta distribution: shares of failures are small, yet one of 1 is found in 5 requests
BISECTIONS = 50

Histogram = Sequence[tuple[float, int]]  # (upper bound in ms, requests up to it), in order


@dataclass(frozen=True)
class Spells:
    """Half-seconds in which requests of either colour were slow; in how many the new one's were more so."""

    told: int = 0
    slower: int = 0

    def and_then(self, live: tuple[int, int], new: tuple[int, int], limits: "Analysis") -> "Spells":
        """With one more, in which each colour had (requests, slow ones). It tells something where both were
        asked, and one was slow."""
        (live_asked, live_slow), (new_asked, new_slow) = live, new
        if not (live_asked and new_asked and (live_slow or new_slow)):
            return self
        slower = new_slow / new_asked > limits.slower * live_slow / live_asked
        return Spells(self.told + 1, self.slower + slower)


def shown_worse(live: Counters, new: Counters, spells: Spells, limits: Analysis) -> str | None:
    """One sentence with the numbers when the new slot is shown worse, else None: also when nothing is known.

    Ask as often as you like, always with counts since the same moments. Two questions share the level: does
    the new one fail more often, by more than `limits.errors`; and is it slow more often, more than
    `limits.slower` times. The unit of the second one is the half-second, not the request: one pause of a
    process makes all requests slow that came in it. Of equal colours either is as likely to be the slower one
    in a half-second, so a coin is the test's measure. A live colour that was never asked counts as `UNASKED`.
    """
    enough = np.log(2 / limits.level)
    more = limits.errors
    if evidence(live.errors, live.requests, new.errors, new.requests, more) >= enough:
        both = f"the new release fails {_share(new)}, the live one {_share(live)}"
        return f"{both}: shown to be more by over {100 * more:g} points"
    if against_a_coin(spells.slower, spells.told) >= enough:
        return (
            f"the new release is slow over {limits.slower:g} times as often as the live one in "
            f"{spells.slower} of {spells.told} half-seconds"
        )
    return None


def against_a_coin(hits: int, tosses: int) -> float:
    """The log of the evidence that hits are more likely than not; to be read as that of `evidence`."""
    if 2 * hits <= tosses:
        return 0.0
    mixture = float(betaln(hits + 0.5, tosses - hits + 0.5) - betaln(0.5, 0.5))
    return mixture - _log_likelihood(hits, tosses, 0.5)


def evidence(live: int, live_requests: int, new: int, new_requests: int, more: float) -> float:
    """The log of the evidence that the new share is above the live one by over `more`: at a level a, over all
    looks together, log(1/a) or more is enough. `live` and `new` count what happened in so many requests.

    It is the likelihood of all that was seen, each share mixed over a beta prior (Robbins 1970), divided by
    the largest likelihood that two shares with new <= live + more can give it (universal inference:
    Wasserman, Ramdas & Balakrishnan 2020). Where the true shares are allowed ones, it is at most a martingale
    that starts at 1, and such a one ever reaches 1/a with probability a at most (Ville 1939)."""
    share = live / live_requests if live_requests else UNASKED
    if not new_requests or new / new_requests <= share + more:
        return 0.0
    # The likelihood is concave, so the best allowed pair is on the edge, between the two observed shares.
    low, high = share, min(new / new_requests - more, UNLIKELY)
    high = max(low, high) if live_requests else UNASKED
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        gain = _slope(live, live_requests, middle) + _slope(new, new_requests, middle + more)
        low, high = (middle, high) if gain > 0 else (low, middle)
    best = _log_likelihood(live, live_requests, low) + _log_likelihood(new, new_requests, low + more)
    return _log_mixture(live, live_requests) + _log_mixture(new, new_requests) - best


def _log_likelihood(hits: int, requests: int, p: float) -> float:
    return float(xlogy(hits, p) + xlog1py(requests - hits, -p))


def _slope(hits: int, requests: int, p: float) -> float:
    return hits / p - (requests - hits) / (1 - p)


def _log_mixture(hits: int, requests: int) -> float:
    """The log-likelihood of a share mixed over the prior, which only says where it is soon shown."""
    a, b = PRIOR
    return float(betaln(hits + a, requests - hits + b) - betaln(a, b))


def slow_above(histogram: Histogram, share: float = SHARE) -> float:
    """The smallest bound, in ms, that holds at least `share` of the requests; infinite without requests.

    The requests beyond it tell no less of the share beyond it than others would: at an order statistic the
    binomial bound is exact (Wilks 1941)."""
    least = share * total(histogram)
    return next((bound for bound, count in histogram if least and count >= least), float("inf"))


def total(histogram: Histogram) -> int:
    """How many requests it counts."""
    return histogram[-1][1] if histogram else 0


def beyond(histogram: Histogram, bound: float) -> int:
    """How many requests took longer than `bound`, which is one that `slow_above` gave."""
    return total(histogram) - max((count for upper, count in histogram if upper <= bound), default=0)


def _share(counts: Counters) -> str:
    if not counts.requests:
        return f"was not asked (taken for {100 * UNASKED:g} %)"
    percent = 100 * counts.errors / counts.requests
    return f"{counts.errors:,} of {counts.requests:,} requests ({percent:.3g} %)"

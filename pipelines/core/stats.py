"""The mathematics of the gate and of the drift check. Days, not rows, are the independent unit.

All flights of a day share its weather, so a model's metrics are kept as sums of days (`day_sums`): a
resample of the days is then a weight for each day, and every metric is a function of sums and weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

BLOCK = 3  # days: the lag-1 correlation of real changes is .13 to .25, that of lag 3 is noise
LEAST_SHARE = 1e-4  # an empty bin counts as so much, or one row in it would make the PSI infinite
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class DaySums:
    """What the metrics of one model need of each of D days."""

    rows: np.ndarray  # (D,)
    positives: np.ndarray  # (D,)
    log_loss: np.ndarray  # (D,) sum over rows, in nats
    brier: np.ndarray  # (D,) sum over rows (Brier 1950)
    wins: np.ndarray  # (D, D) pairs of a positive of day i above a negative of day j; ties count one half


def day_sums(label: np.ndarray, p: np.ndarray, day: np.ndarray, days: int) -> DaySums:
    """Sums of `days` days. `label` bool, `p` P(label) and `day` 0..days-1, each of shape (n,). ROC-AUC is the
    Mann-Whitney U over the pairs (Hanley & McNeil 1982), which splits into pairs of days: `wins` holds all
    that any reweighting of the days needs, ties included."""
    label, p = np.asarray(label, dtype=bool), np.asarray(p, dtype=np.float64)
    order = np.argsort(p[label])  # numpy finds places faster for what is in order
    above, its_day = p[label][order], day[label][order]
    wins = np.empty((days, days))
    for other in range(days):
        below = np.sort(p[~label & (day == other)])
        pairs = (np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")) / 2
        wins[:, other] = np.bincount(its_day, weights=pairs, minlength=days)
    summed = (np.ones(len(p)), label, log_losses(label, p), (p - label) ** 2)
    return DaySums(*[*(np.bincount(day, weights=values, minlength=days) for values in summed), wins])


def log_losses(label: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Each row's negative log-likelihood in nats: (n,); p is clipped as sklearn.metrics.log_loss does it."""
    safe = np.clip(p, _EPSILON, 1 - _EPSILON)
    return -np.log(np.where(label, safe, 1 - safe))


def day_weights(days: int, resamples: int, seed: int, block: int = BLOCK) -> np.ndarray:
    """How often each day is drawn: integers of shape (resamples, days), each row sums to `days`.

    block=1 is the plain bootstrap, Multinomial(D, 1/D) (Efron 1979). Longer blocks are the circular block
    bootstrap (Politis & Romano 1992), which keeps what neighbouring days have in common. Both models of a
    comparison must get the same weights: the paired differences then lose what is common to both."""
    block = max(1, min(block, days))
    draw = np.random.default_rng(seed)
    starts = draw.integers(0, days, size=(resamples, math.ceil(days / block)))
    drawn = (starts[:, :, None] + np.arange(block)) % days
    drawn = drawn.reshape(resamples, -1)[:, :days]
    flat = np.bincount((drawn + days * np.arange(resamples)[:, None]).ravel(), minlength=days * resamples)
    return flat.reshape(resamples, days)


# Each metric takes weights of shape (D,) or (B, D), None for the days as they were, and returns a number or
# (B,). It is NaN where it does not exist, such as the AUC of one class.


def roc_auc(sums: DaySums, weights: np.ndarray | None = None) -> Any:
    """Area under the ROC curve: the share of pairs (positive, negative) in the right order."""
    w = _weights(sums.rows, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((w @ sums.wins) * w).sum(-1) / ((w @ sums.positives) * (w @ (sums.rows - sums.positives)))


def brier_skill(sums: DaySums, rate: float, weights: np.ndarray | None = None) -> Any:
    """1 - Brier / Brier of always saying `rate`, the training's label rate (Murphy 1973)."""
    constant = sums.positives * (1 - rate) ** 2 + (sums.rows - sums.positives) * rate**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - mean(sums.brier, sums.rows, weights) / mean(constant, sums.rows, weights)


def mean(values: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Mean over rows of what each day has in sum, `values` (D,), with so many `rows` (D,); of another sum in
    place of these the ratio of both."""
    w = _weights(rows, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w @ values) / (w @ rows)


def _weights(rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)


def interval(draws: np.ndarray, level: float = 0.90) -> tuple[float, float]:
    """The percentile interval of a bootstrap's draws (Efron 1981). NaN in one draw makes both ends NaN."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def finite(value: float | None) -> float | None:
    """The number, which JSON has; None for one that it has not."""
    return float(value) if value is not None and math.isfinite(value) else None


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; those of equal values are their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


def area(label: np.ndarray, values: np.ndarray) -> float:
    """ROC-AUC of `values` for the flags `label`, by Mann-Whitney's U for a positive."""
    above = ranks(values)[label].mean() - (label.sum() + 1) / 2
    return float(above / (~label).sum())


def normal(level: float) -> float:
    """The quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(level)


def effective(values: np.ndarray, day: np.ndarray) -> float:
    """How many independent rows would tell the mean of `values` as well as these, whose days share something:
    rows / design effect (Kish 1965), from the sums of days. Days where all values are the same."""
    n, (_, place) = len(values), np.unique(day, return_inverse=True)
    days = int(place.max()) + 1
    off = values - values.mean()
    if days < 2 or not (spread := float((off**2).sum()) * n / (n - 1)) > _EPSILON * n:
        return float(days)
    sums = np.bincount(place, weights=off)
    return n / max(1.0, float((sums**2).sum()) * days / (days - 1) / spread)


def auc_error(auc: float, one: float, other: float) -> float:
    """The standard error of a ROC-AUC that is `auc` in truth, of so many rows of either class (Hanley and
    McNeil 1982, eq. 2), the mean of both ways to name the classes: at 0.5 it is the rank sum's."""
    few, most = sorted((max(one, 1.0), max(other, 1.0)))
    same = (auc / (2 - auc) + 2 * auc**2 / (1 + auc)) / 2 - auc**2
    return math.sqrt((auc * (1 - auc) + (few + most - 2) * same) / (few * most))


def simultaneous(
    point: np.ndarray, draws: np.ndarray, level: float = 0.90
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Point and one-sided simultaneous bounds, below and above, of S differences: three arrays of shape (S,).

    `draws` of shape (B, S). t* is the 95 % quantile of max_s (draw_s - point_s) / se_s at the level 90 %, so
    that all lower bounds hold at once with that probability (max-statistic: Westfall & Young 1993, Romano &
    Wolf 2005)."""
    error = np.maximum(draws.std(axis=0, ddof=1), _EPSILON)
    studentised = (draws - point) / error
    below = np.quantile(studentised.max(axis=1), (1 + level) / 2)
    above = np.quantile(-studentised.min(axis=1), (1 + level) / 2)
    return point, point - below * error, point + above * error


def calibration(label: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Intercept and slope of calibration: 0 and 1 where p is calibrated (Cox 1958, Steyerberg et al. 2010).

    The slope is that of the logistic regression of `label` on logit(p); below 1 the probabilities are too
    extreme. The intercept is that with the slope held at 1 (calibration in the large); above 0 they are too
    low. NaN where the fit does not exist."""
    x, y = _logit(p), np.asarray(label, dtype=np.float64)
    ones = np.ones((len(y), 1))
    return float(_logistic(ones, y, x)[0]), float(_logistic(np.column_stack([ones, x]), y)[1])


def calibration_draws(label: np.ndarray, p: np.ndarray, day: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Intercept and slope in each resample of the days: `weights` (B, D) give (B, 2). Each is one Newton step
    from the fit on all days, which has the bootstrap's first-order accuracy (Davidson & MacKinnon 1999), and
    needs sums of days only."""
    x, y = _logit(p), np.asarray(label, dtype=np.float64)
    ones = np.ones((len(y), 1))
    both = np.column_stack([ones, x])
    intercept = _one_step(ones, y, day, weights, x)[:, 0]
    slope = _one_step(both, y, day, weights, np.zeros(len(y)))[:, 1]
    return np.column_stack([intercept, slope])


def _logit(p: np.ndarray) -> np.ndarray:
    safe = np.clip(np.asarray(p, dtype=np.float64), 1e-9, 1 - 1e-9)
    return np.log(safe / (1 - safe))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))


def _logistic(x: np.ndarray, y: np.ndarray, offset: np.ndarray | float = 0.0) -> np.ndarray:
    """Coefficients of shape (k,) for x of shape (n, k), by Newton's method; the likelihood is concave."""
    beta = np.zeros(x.shape[1])
    for _ in range(25):
        fitted = _sigmoid(x @ beta + offset)
        information = x.T @ (x * (fitted * (1 - fitted))[:, None])
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return np.full(x.shape[1], math.nan)
        step = np.linalg.solve(information, x.T @ (y - fitted))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            return beta
    return np.full(x.shape[1], math.nan)


def _one_step(
    x: np.ndarray, y: np.ndarray, day: np.ndarray, weights: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    days, k = weights.shape[1], x.shape[1]
    beta = _logistic(x, y, offset)
    fitted = _sigmoid(x @ beta + offset)
    spread = fitted * (1 - fitted)

    def by_day(values: np.ndarray) -> np.ndarray:
        return np.bincount(day, weights=values, minlength=days)

    score = np.column_stack([by_day(x[:, i] * (y - fitted)) for i in range(k)])
    information = np.stack([by_day(x[:, i] * x[:, j] * spread) for i in range(k) for j in range(k)], axis=1)
    drawn = (weights @ information).reshape(-1, k, k)
    if not np.isfinite(drawn).all() or (np.linalg.cond(drawn) > 1e12).any():
        return np.full((len(weights), k), math.nan)
    return beta + np.linalg.solve(drawn, (weights @ score)[:, :, None])[:, :, 0]


@dataclass(frozen=True)
class Bins:
    """Where a feature's values fall. A number has `edges` (a value equal to one is above it), a category
    `values` and one bin for all others; a bin for missing values comes last in both."""

    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()

    def frequencies(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """The share of `values` in each bin; NaN in all where there are no values."""
        import pandas as pd

        column = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)
        missing = pd.isna(column)
        given = column[~missing]
        if self.values:
            place = {value: index for index, value in enumerate(self.values)}
            codes, names = pd.factorize(given)  # each value is looked up once
            bin_of = np.array([place.get(str(name), len(self.values)) for name in names], dtype=np.int64)
            found = bin_of[codes]
            bins = len(self.values) + 1
        else:
            found = np.searchsorted(np.array(self.edges), given.astype(np.float64), "right")
            bins = len(self.edges) + 1
        counts = np.append(np.bincount(found, minlength=bins), missing.sum())
        return counts / len(column) if len(column) else np.full(len(counts), math.nan)


def bins(values: Sequence[Any] | np.ndarray, category: bool = False, count: int = 10) -> Bins:
    """Bins that hold about equal shares of `values`: quantiles of a number (fewer where values repeat), the
    `count` most frequent values of a category."""
    import pandas as pd

    given = pd.Series(values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)).dropna()
    if category:
        names = given.value_counts().sort_index().sort_values(ascending=False, kind="stable").index
        return Bins(values=tuple(sorted(str(name) for name in names[:count])))
    if given.empty:
        return Bins()
    numbers = given.to_numpy(dtype=np.float64)
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, count + 1)[1:-1], method="lower"))
    return Bins(edges=tuple(float(edge) for edge in edges if edge > numbers.min()))


def psi(expected: Sequence[float] | np.ndarray, observed: Sequence[float] | np.ndarray) -> float:
    """Population stability index of two lists of shares (or counts) over the same bins:
    sum (o - e) ln(o / e), the symmetrised Kullback-Leibler divergence (Jeffreys 1946; Yurdakul 2018).
    Each share is at least LEAST_SHARE. NaN where either list is empty or sums to nothing: no data is none."""
    e, o = np.asarray(expected, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if e.shape != o.shape:
        raise ValueError(f"psi: {len(e)} bins expected, {len(o)} observed")
    if not (e.sum() > 0 and o.sum() > 0):
        return math.nan
    e, o = np.maximum(e / e.sum(), LEAST_SHARE), np.maximum(o / o.sum(), LEAST_SHARE)
    return float(((o - e) * np.log(o / e)).sum())

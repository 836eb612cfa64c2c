"""Is a difference real: intervals and paired tests over users, splits and seeds.

**The unit of analysis is a user in a split.** Values are averaged over the seeds of one split and user first, so that many
seeds do not pass for many people. Users of one split are scored by the same trained model, so they are not independent of
each other: they are nested in splits, and one person may come back in several. `paired` therefore takes its interval from
two-way clusters; tests over users alone (`wilcoxon`, `bootstrap`) speak of these splits and seeds only.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
LEVEL = 0.95
LEAST = 3  # independent values (splits, pairs of domains) without which no interval and no verdict is given


class Summary(NamedTuple):
    """n values: mean, sample standard deviation and the interval of the mean; NaN where n is too small."""

    n: int
    mean: float
    std: float
    low: float
    high: float


class Paired(NamedTuple):
    """A mean difference, its standard error, degrees of freedom, interval and two-sided p; NaN where unknown."""

    difference: float
    error: float
    freedom: float
    low: float
    high: float
    p: float


class Units(NamedTuple):
    """Rows of a paired comparison, one per split and user: ids of both and weights that sum to 1 within a split."""

    split: NDArray[np.int64]
    user: NDArray[np.int64]
    weight: Array

    def balanced(self) -> Array:
        """Weights with which every split counts alike: they sum to 1 over all rows."""
        return self.weight / len(np.unique(self.split))


def summary(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Summary:
    """Mean, standard deviation and the 95 % interval mean ± t(n - 1) · s / √n of independent values [n].

    clusters [n]: values of one cluster (the seeds on one split) are not independent: the interval is that of the clusters'
    means, with their number as n. Fewer than three independent values have no interval.
    """
    x = np.asarray(values, np.float64)
    if not len(x):
        return Summary(0, *(np.nan,) * 4)
    mean = float(x.mean())
    if len(x) < 2:
        return Summary(1, mean, *(np.nan,) * 3)
    std = float(x.std(ddof=1))
    rows: dict[Hashable, list[float]] = {}
    for value, cluster in zip(x, clusters or (), strict=clusters is not None):
        rows.setdefault(cluster, []).append(float(value))
    units = np.array([np.mean(row) for row in rows.values()]) if rows else x
    if len(units) < LEAST:
        return Summary(len(x), mean, std, np.nan, np.nan)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(units) - 1)) * float(units.std(ddof=1)) / np.sqrt(len(units))
    return Summary(len(x), mean, std, mean - half, mean + half)


def paired(difference: Array, units: Units, by_seed: Array | None = None) -> Paired:
    """The mean of differences [rows], every split counting alike, with an interval that knows of users and splits.

    With e = w (d - d̄), the variance is that of clusters of users, V_u = G/(G-1) Σ_g (Σ_{i∈g} e_i)², plus what splits add
    to their users, max(0, V_s - V_0) with V_s = S/(S-1) Σ_s (Σ_{i∈s} e_i)² and V_0 = Σ e_i² (two-way clusters: Cameron,
    Gelbach & Miller 2011). The degrees of freedom follow Satterthwaite with max(V_s, V_0/2) for the part of splits: a few
    of them can look alike by chance. With one split its own part cannot be known, the interval holds for that split, and
    `by_seed`, the mean difference of each of K seeds, adds the variance of seeds, s²/K; with one seed too, nothing speaks
    for another one. Users without a common index across splits count as strangers.

    How often the 95 % interval leaves out the truth (false positives at p < 0.05), simulated with 250 users a split and
    4,000 draws (tests/evaluate/test_coverage.py; two standard errors are 0.7 %). The range is that over variances of splits
    and seeds from none to four times that of the mean of one split's users:

        1 split, 3 seeds (for that split)      4.7 to 6.2 %
        3 splits, 1 seed                       1.1 to 5.3 %
        3 splits, 3 seeds                      1.0 to 4.6 %
        5 splits, closed form, same people     4.5 to 6.0 %
        4 and 12 pairs of domains (`summary`)  5.0 to 5.2 %

    A t-test over users alone has up to 38 %. One split says nothing of another one, whatever its interval.
    """
    e = units.balanced() * (difference - _mean(difference, units))
    people, splits = _cluster(e, units.user), _cluster(e, units.split)
    if len(people) < 2:
        return Paired(_mean(difference, units), *(np.nan,) * 5)
    count, groups = len(splits), len(people)
    of_users = groups / (groups - 1) * float(people @ people)
    extra, part, freedom = 0.0, 0.0, 1.0
    if count > 1:
        alone = float(e @ e)
        part, freedom = count / (count - 1) * float(splits @ splits), count - 1.0
        extra, part = max(0.0, part - alone), max(part, alone / 2)
    elif by_seed is not None and len(by_seed) > 1:
        extra = part = float(np.var(by_seed, ddof=1)) / len(by_seed)
        freedom = len(by_seed) - 1.0
    variance = of_users + extra
    spread = of_users**2 / (groups - 1) + part**2 / freedom
    return interval(_mean(difference, units), variance, variance**2 / spread if spread else groups - 1.0)


def simultaneous(errors: Array, freedom: float, draws: int = 10_000) -> float:
    """c with P(max_j |T_j| ≤ c) = LEVEL: half of every interval of m means, in standard errors, so that all hold at once.

    errors [clusters, m]: what each cluster adds to the error of each mean. T is multivariate t(freedom) with their
    correlations (Hothorn, Bretz & Westfall 2008), drawn with a seed of its own. The more alike the means, the nearer is c
    to that of a single one; for strangers it is just below Bonferroni's.
    """
    least, most = (float(stats.t.ppf(1 - (1 - LEVEL) / 2 / many, freedom)) for many in (1, errors.shape[1]))
    size = np.sqrt(np.sum(np.square(errors), axis=0))
    if most == least or not size.any():
        return least
    random, scaled = np.random.default_rng(0), errors[:, size > 0] / size[size > 0]
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    normal = random.standard_normal((draws, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    largest = np.max(np.abs(normal), axis=1) / np.sqrt(random.chisquare(freedom, draws) / freedom)
    return min(max(float(np.quantile(largest, LEVEL)), least), most)


def by_user(samples: Sequence[tuple[Array, Units]]) -> Array:
    """What each user adds to the errors of m means of differences: float64 [users, m]; 0 of whom a mean has not seen."""
    users = np.unique(np.concatenate([units.user for _, units in samples]))
    parts = [(units.balanced() * (values - _mean(values, units)), units.user) for values, units in samples]
    return np.stack([np.bincount(np.searchsorted(users, user), e, len(users)) for e, user in parts], axis=1)


def interval(difference: float, variance: float, freedom: float) -> Paired:
    """d ± t(freedom) · √variance and the p value of d = 0."""
    error = float(np.sqrt(variance))
    if error == 0:
        return Paired(difference, 0.0, freedom, difference, difference, 1.0 if difference == 0 else 0.0)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Paired(difference, error, freedom, difference - half, difference + half, p)


def bounded(paired: Paired, low: float, high: float) -> Paired:
    """The interval cut where it leaves the range of what is estimated: that covers no less."""
    return paired._replace(low=max(paired.low, low), high=min(paired.high, high)) if np.isfinite(paired.low) else paired


def wilcoxon(difference: ArrayLike) -> tuple[float, float]:
    """Two-sided signed-rank test of paired differences [n], zeros left out: (p, matched rank-biserial correlation).

    The effect is r = (W⁺ - W⁻) / (W⁺ + W⁻) from -1 to 1 (Kerby 2014), with W± the rank sums of positive and negative ones.
    """
    d = np.asarray(difference, np.float64)
    d = d[d != 0]
    if not len(d):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(d))
    return float(stats.wilcoxon(d).pvalue), float(ranks @ np.sign(d) / ranks.sum())


def cohen(difference: ArrayLike) -> float:
    """Cohen's d of paired differences: d_z = mean(d) / sd(d), 0 where all are equal to zero."""
    d = np.asarray(difference, np.float64)
    if len(d) < 2:
        return float("nan")
    mean, spread = float(d.mean()), float(d.std(ddof=1))
    return mean / spread if spread else float(np.sign(mean)) * np.inf if mean else 0.0


def bootstrap(differences: Array, units: Units, resamples: int = 2000, seed: int = 0) -> list[tuple[float, float, float]]:
    """Paired bootstrap over the users of every split: (p, low, high) for each column of differences [rows, pairs].

    Users are drawn with replacement within their split; the interval is that of percentiles and
    p = 2 min(#{d* ≤ 0} + 1, #{d* ≥ 0} + 1) / (resamples + 1), at most 1.
    """
    random = np.random.default_rng(seed)
    weight, ids = units.weight, np.unique(units.split)
    means = np.zeros((resamples, differences.shape[1]))
    for split in ids:
        rows = np.flatnonzero(units.split == split)
        table = np.column_stack([differences[rows] * weight[rows, None], weight[rows]])
        for start in range(0, resamples, 100):
            size = min(100, resamples - start)
            drawn = random.integers(0, len(rows), (size, len(rows))) + np.arange(size)[:, None] * len(rows)
            counts = np.bincount(drawn.ravel(), minlength=size * len(rows)).reshape(size, -1)
            sums = counts @ table
            means[start : start + size] += sums[:, :-1] / sums[:, -1:] / len(ids)
    tails = (1 - LEVEL) / 2
    below, above = (means <= 0).sum(axis=0), (means >= 0).sum(axis=0)
    p = np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (resamples + 1))
    low, high = np.quantile(means, [tails, 1 - tails], axis=0)
    return [(float(a), float(b), float(c)) for a, b, c in zip(p, low, high, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p̃_(i) = max_{j≤i} min(1, (m - j + 1) p_(j)); NaN stays and does not count."""
    values = np.asarray(p, np.float64)
    result = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    result[order] = np.minimum(1.0, np.maximum.accumulate(scaled)) if len(order) else scaled
    return result.tolist()


def _mean(difference: Array, units: Units) -> float:
    return float(units.balanced() @ difference)


def _cluster(e: Array, labels: NDArray[np.int64]) -> Array:
    _, place = np.unique(labels, return_inverse=True)
    return np.bincount(place.ravel(), weights=e).astype(np.float64)

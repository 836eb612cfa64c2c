"""Intervals and paired tests against SciPy, and on simulated data where the truth is known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from transfer.evaluate import significance
from transfer.evaluate.significance import Units

RANDOM = np.random.default_rng(0)


def units(splits: int, users: int) -> Units:
    """Equal splits with users of their own."""
    split = np.repeat(np.arange(splits), users)
    return Units(split, np.arange(splits * users), np.full(splits * users, 1 / users))


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    x = RANDOM.normal(3, 2, 9)
    of = significance.summary(x)
    low, high = stats.t.interval(0.95, 8, loc=x.mean(), scale=stats.sem(x))
    assert (of.n, of.mean, of.std) == (9, pytest.approx(x.mean()), pytest.approx(x.std(ddof=1)))
    assert (of.low, of.high) == (pytest.approx(low), pytest.approx(high))
    assert math.isnan(significance.summary([1.0]).low)
    assert significance.summary([1.0]).mean == 1
    assert significance.summary([]).n == 0


def test_users_of_one_split_and_seed_are_a_paired_t_test() -> None:
    a, b = RANDOM.normal(0.3, 1, 50), RANDOM.normal(0, 1, 50)
    ours, scipys = significance.paired(a - b, units(1, 50)), stats.ttest_rel(a, b)
    assert ours.p == pytest.approx(scipys.pvalue)
    interval = scipys.confidence_interval()
    assert (ours.low, ours.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_splits_that_differ_far_more_than_users_are_a_t_test_of_splits() -> None:
    means = np.array([0.0, 5.0, 9.0, 2.0])
    d = (means[:, None] + RANDOM.normal(0, 1e-3, (4, 100))).ravel()
    ours, scipys = significance.paired(d, units(4, 100)), stats.ttest_1samp(means, 0).confidence_interval()
    assert ours.freedom == pytest.approx(3, rel=1e-3)
    assert (ours.low, ours.high) == (pytest.approx(scipys.low, rel=1e-3), pytest.approx(scipys.high, rel=1e-3))


def test_a_person_who_comes_back_in_every_split_counts_once() -> None:
    once = RANDOM.normal(0.1, 1, 80)
    three = Units(np.repeat(np.arange(3), 80), np.tile(np.arange(80), 3), np.full(240, 1 / 80))
    same, strangers = (significance.paired(np.tile(once, 3), u) for u in (three, units(3, 80)))
    assert same.error == pytest.approx(significance.paired(once, units(1, 80)).error)
    assert same.error > 1.6 * strangers.error


def test_seeds_widen_the_interval_of_one_split() -> None:
    d = RANDOM.normal(0, 1, 100)
    plain, spread = (significance.paired(d, units(1, 100), by_seed=np.array(x)) for x in ([0.1, 0.1], [-0.4, 0.4]))
    assert plain.error == significance.paired(d, units(1, 100)).error
    assert spread.error**2 == pytest.approx(plain.error**2 + np.var([-0.4, 0.4], ddof=1) / 2)
    assert spread.freedom < 3


def test_the_wilcoxon_test_and_its_effect() -> None:
    d = RANDOM.normal(0.4, 1, 60)
    p, effect = significance.wilcoxon(np.concatenate([d, np.zeros(20)]))
    assert p == pytest.approx(stats.wilcoxon(d).pvalue)
    above = stats.wilcoxon(d, alternative="greater").statistic
    assert effect == pytest.approx((above - (60 * 61 / 2 - above)) / (60 * 61 / 2))
    assert significance.wilcoxon([1.0, 2.0, 3.0])[1] == 1
    assert significance.wilcoxon(np.zeros(5)) == (1.0, 0.0)
    assert significance.cohen(d) == pytest.approx(d.mean() / d.std(ddof=1))
    assert significance.cohen([0.0, 0.0]) == 0
    assert math.isnan(significance.cohen([1.0]))


def test_the_bootstrap_is_that_of_scipy_for_every_column() -> None:
    d = np.column_stack([RANDOM.exponential(1, 80) - 0.7, RANDOM.normal(0, 1, 80)])
    ours = significance.bootstrap(d, units(1, 80), resamples=5000)
    for column, (p, low, high) in zip(d.T, ours, strict=True):
        scipys = stats.bootstrap((column,), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
        assert (low, high) == (pytest.approx(scipys.low, abs=0.02), pytest.approx(scipys.high, abs=0.02))
        assert p == pytest.approx(stats.ttest_1samp(column, 0).pvalue, abs=0.05)
    assert ours == significance.bootstrap(d, units(1, 80), resamples=5000)


def test_the_bootstrap_keeps_every_split_its_share() -> None:
    sizes = (20, 200)
    split, weight = np.repeat([0, 1], sizes), np.concatenate([np.full(n, 1 / n) for n in sizes])
    ((p, low, high),) = significance.bootstrap(
        np.where(split == 0, 1.0, 3.0)[:, None], Units(split, np.arange(220), weight), resamples=50
    )
    assert (low, high) == (pytest.approx(2), pytest.approx(2))
    assert p == pytest.approx(2 / 51)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_a_monotone_correction(p: list[float]) -> None:
    fixed = significance.holm(p)
    order = np.argsort(p, kind="stable")
    for rank, i in enumerate(order):
        assert fixed[i] == pytest.approx(max(min(1, (len(p) - j) * p[order[j]]) for j in range(rank + 1)))
    assert all(fixed[a] <= fixed[b] for a, b in pairwise(order))
    assert significance.holm([0.01, math.nan, 0.04, 0.03])[::2] == pytest.approx([0.03, 0.06])
    assert math.isnan(significance.holm([0.01, math.nan])[1])


@pytest.mark.parametrize(("splits", "between"), [(1, 0.0), (3, 0.0), (3, 1.0), (5, 1.0)])
def test_false_positives_are_near_five_per_cent(splits: int, between: float) -> None:
    """No effect: users vary by 1, the means of splits by `between` times what their users explain. A t-test over users
    alone is fooled by the splits."""
    random, users, draws = np.random.default_rng(splits), 100, 600
    of = units(splits, users)
    fooled = wrong = 0
    for _ in range(draws):
        drift = random.normal(0, np.sqrt(between / users), splits) if splits > 1 else np.zeros(1)
        d = random.normal(0, 1, splits * users) + drift[of.split]
        wrong += significance.paired(d, of).p < 0.05
        fooled += stats.ttest_1samp(d, 0).pvalue < 0.05
    assert 0.003 < wrong / draws < 0.065
    assert (fooled / draws > 0.1) == (between > 0)


def test_an_effect_is_found_and_covered() -> None:
    random, of = np.random.default_rng(4), units(3, 100)
    covered = found = 0
    for _ in range(300):
        result = significance.paired(random.normal(0.5, 1, 300) + random.normal(0, 0.05, 3)[of.split], of)
        covered += result.low <= 0.5 <= result.high
        found += result.p < 0.05
    assert covered / 300 > 0.9
    assert found / 300 > 0.8


def test_seeds_on_one_split_do_not_pass_for_splits() -> None:
    """Three splits with three equal seeds each (a closed form) are three values, not nine."""
    values, splits = np.repeat([0.1, 0.2, 0.4], 3), ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    clustered, alone = significance.summary(values, splits), significance.summary([0.1, 0.2, 0.4])
    assert (clustered.n, clustered.mean) == (9, pytest.approx(alone.mean))
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    assert math.isnan(significance.summary(values, ["a"] * 9).low), "nine seeds of one split speak of no other split"
    assert math.isnan(significance.summary([0.1, 0.2]).low), "two numbers have no interval"


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.95])
def test_bounds_of_several_means_hold_at_once(alike: float) -> None:
    """Against the integral of the multivariate t over the box; of equal means they are those of one, of strangers nearly
    Bonferroni's."""
    shape = np.full((4, 4), alike) + (1 - alike) * np.eye(4)
    errors = np.linalg.cholesky(shape).T  # its columns have these correlations
    limit = significance.simultaneous(errors, 30)
    box = stats.multivariate_t(shape=shape, df=30, seed=0).cdf(np.full(4, limit), lower_limit=np.full(4, -limit))
    assert box == pytest.approx(0.95, abs=0.004)
    one, all_strangers = (stats.t.ppf(1 - 0.025 / many, 30) for many in (1, 4))
    assert one < limit <= all_strangers
    assert limit < 0.97 * all_strangers or alike < 0.9
    assert significance.simultaneous(np.repeat(errors[:, :1], 4, axis=1), 30) == pytest.approx(one, rel=0.02)


def test_errors_by_user_add_up_to_the_variance_of_each_mean() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=60), rng.normal(size=50)
    one, weight = np.zeros(60, np.int64), np.full(60, 1 / 60)
    people = np.arange(60) // 2
    rows = [(first, Units(one, people, weight)), (second, Units(one[:50], people[:50] + 10, weight[:50] * 1.2))]
    errors = significance.by_user(rows)
    assert errors.shape == (35, 2), "users 0 to 34, whom not both have seen"
    assert not errors[30:, 0].any()
    assert not errors[:10, 1].any()
    for column, (values, units), groups in zip(errors.T, rows, (30, 25), strict=True):
        assert np.sqrt(groups / (groups - 1) * column @ column) == pytest.approx(significance.paired(values, units).error)

"""Off-policy values: against an independent NumPy implementation, against closed-form truth, and what breaks them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transfer.data.logs.simulate import Planted, planted, softmax
from transfer.evaluate.logged import estimate as whole
from transfer.evaluate.logged.estimate import bootstrap, estimate, interval, logged, percentiles
from transfer.evaluate.logged.estimators import ESTIMATORS, Limits, limits_of
from transfer.evaluate.logged.pairs import PAIRED, difference
from transfer.evaluate.logged.rewards import STRENGTH
from transfer.evaluate.logged.slates import SLATES, slate_values

WORLD = planted(6, 8, rate=0.2, seed=1)
GOOD = softmax(2 * np.log(WORLD.rate), 1.0)
UNIFORM = np.full_like(GOOD, 1 / 8)
TABLES = jnp.asarray(np.stack([GOOD, UNIFORM, WORLD.logging]), jnp.float32)


def one_log(n: int = 3000, seed: int = 0, world: Planted = WORLD):
    return world.draw(n, np.random.default_rng(seed))


def numpy_values(context, item, propensity, reward, fold, table, limits: Limits) -> dict[str, float]:
    """Row by row, in float64, from the papers' formulas."""
    n, (cells, items) = len(reward), table.shape

    def model(rows):
        return {
            (c, a): (reward[rows & (context == c) & (item == a)].sum() + STRENGTH * reward[rows].mean())
            / ((rows & (context == c) & (item == a)).sum() + STRENGTH)
            for c in range(cells)
            for a in range(items)
        }

    every = model(np.ones(n, bool))
    other = [model(fold != f) for f in range(fold.max() + 1)]
    sums = dict.fromkeys(ESTIMATORS, 0.0)
    weights = 0.0
    for c, a, p, r, f in zip(context, item, propensity, reward, fold, strict=True):
        w = table[c, a] / p
        v = sum(table[c, b] * other[f][c, b] for b in range(items))
        rest = w * (r - other[f][c, a])
        weights += w
        sums["dm"] += sum(table[c, b] * every[c, b] for b in range(items))
        sums["ips"] += w * r
        sums["clipped_ips"] += min(w, limits.clip) * r
        sums["dr"] += v + rest
        sums["switch_dr"] += v + (rest if w <= limits.switch else 0)
        sums["dros"] += v + limits.shrink * w / (w * w + limits.shrink) * (r - other[f][c, a])
        sums["sndr"] += v
        sums["snips"] += rest  # kept for sndr
    result = {name: total / n for name, total in sums.items()}
    return result | {"snips": sums["ips"] / weights, "sndr": sums["sndr"] / n + sums["snips"] / weights}


def test_every_estimator_is_its_formula() -> None:
    limits = Limits(1.3, 1.3, 2.0)  # that bind
    data = one_log(700)
    log = logged(*data)
    found = estimate(log, TABLES, limits)
    for place, table in enumerate((GOOD, UNIFORM, WORLD.logging)):
        expected = numpy_values(*data, np.asarray(log.fold), table, limits)
        assert dict(zip(ESTIMATORS, found.value[place].tolist(), strict=True)) == pytest.approx(expected, abs=2e-6)
    w = GOOD[data[0], data[1]] / data[2]
    assert float(found.effective[0]) == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-5)
    assert float(found.clipped[0]) == pytest.approx(np.maximum(w - 1.3, 0).sum() / w.sum(), rel=1e-4)
    assert float(found.mean_weight[2]) == pytest.approx(1, abs=1e-6)
    assert np.allclose(found.value[2, 1:4], data[3].mean(), atol=1e-6), "the log's own policy has the log's own mean"


def test_errors_are_those_of_the_formulas_and_of_the_bootstrap() -> None:
    data = one_log()
    log, limits = logged(*data), limits_of(3000)
    found = estimate(log, TABLES, limits)
    w = GOOD[data[0], data[1]] / data[2]
    assert float(found.error[0, 1]) == pytest.approx((w * data[3]).std(ddof=1) / 3000**0.5, rel=1e-4)
    ratio = w * (data[3] - (w * data[3]).sum() / w.sum()) / w.mean()
    assert float(found.error[0, 3]) == pytest.approx(ratio.std(ddof=1) / 3000**0.5, rel=1e-3)
    drawn = bootstrap(log, TABLES, jax.random.key(0), limits, 400)
    assert drawn.shape == (400, 3, len(ESTIMATORS))
    np.testing.assert_allclose(np.std(drawn, axis=0), found.error, rtol=0.15)
    low, high = percentiles(drawn)
    assert ((low < np.asarray(found.value)) & (np.asarray(found.value) < high)).all()
    again = bootstrap(log, TABLES[:1], jax.random.key(0), limits, 400)
    np.testing.assert_allclose(
        again[:, 0], drawn[:, 0], rtol=1e-5, atol=1e-6
    )  # a policy's draws do not depend on the others


def test_rows_of_one_reader_are_one_unit() -> None:
    """Ten copies of every row: the error is that of the rows once, not √10 smaller."""
    data = [np.repeat(array, 10) for array in one_log(400)]
    once = estimate(logged(*one_log(400)), TABLES, limits_of(4000))
    apart = estimate(logged(*data), TABLES, limits_of(4000))
    alike = estimate(logged(*data, unit=np.repeat(np.arange(400), 10)), TABLES, limits_of(4000))
    np.testing.assert_allclose(alike.error[:, 1:4], once.error[:, 1:4], rtol=1e-3)
    np.testing.assert_allclose(apart.error[:, 1:4] * 10**0.5, once.error[:, 1:4], rtol=0.01)


def coverage(n: int, logs: int, world: Planted, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Share of 95 % intervals with the truth, and mean error in standard errors, [policies, estimators]."""
    rng = np.random.default_rng(5)
    truth = np.array([[world.value(GOOD)], [world.value(UNIFORM)]])
    inside, off = 0, []
    for _ in range(logs):
        found = estimate(logged(*world.draw(n, rng), seed=int(rng.integers(2**31))), TABLES[:2], limits)
        low, high = interval(found.value, found.error, n)
        inside = inside + ((low <= truth) & (truth <= high))
        off.append((np.asarray(found.value) - truth) / np.asarray(found.error))
    return inside / logs, np.mean(off, axis=0)


def test_intervals_have_the_truth_as_often_as_they_say() -> None:
    share, off = coverage(2000, 300, WORLD, limits_of(2000))
    assert (share > 0.915).all(), dict(zip(ESTIMATORS, share.T.tolist(), strict=True))
    assert (share < 0.985).all()
    assert (np.abs(off[:, 1:]) < 0.2).all()  # the mean of 300 has an error of 0.06
    assert (np.abs(off[:, 0]) < 0.4).all()  # dm: its model leans to the mean reward where little was shown
    bound, biased = coverage(2000, 60, WORLD, limits_of(2000, clip=1.0))
    at = list(ESTIMATORS).index("clipped_ips")
    assert biased[0, at] < -3, "weights cut at 1 lose reward"
    assert bound[0, at] < 0.3


def test_wrong_propensities_are_seen() -> None:
    """Doubled chances halve the mean weight; snips and dr are less wrong than ips."""
    context, item, propensity, reward = one_log(20_000)
    found = estimate(logged(context, item, np.minimum(2 * propensity, 1), reward), TABLES[:1], limits_of(20_000))
    value = dict(zip(ESTIMATORS, found.value[0].tolist(), strict=True))
    truth = WORLD.value(GOOD)
    assert float(found.mean_weight[0]) == pytest.approx(0.5, abs=0.03)
    assert abs(value["ips"] - truth) > 0.4 * truth
    assert abs(value["snips"] - truth) < 0.1 * truth
    assert abs(value["dr"] - truth) < 0.1 * truth


def test_the_difference_is_the_difference_and_its_error_is_smaller() -> None:
    data = one_log(4000)
    log, limits = logged(*data), limits_of(4000)
    apart = estimate(log, TABLES, limits)
    near = jnp.asarray(0.9 * WORLD.logging + 0.1 * GOOD, jnp.float32)
    found = difference(log, TABLES, TABLES[2], limits)
    np.testing.assert_allclose(found.value[:, :-2], np.asarray(apart.value) - np.asarray(apart.value[2]), atol=1e-5)
    np.testing.assert_allclose(found.apart, np.hypot(apart.error, apart.error[2]), rtol=1e-4)
    w = (GOOD - WORLD.logging)[data[0], data[1]] / data[2]
    assert float(found.error[0, 1]) == pytest.approx((w * data[3]).std(ddof=1) / 4000**0.5, rel=1e-3)
    beta = (w**2 @ data[3]) / (w**2).sum()
    assert float(found.value[0, -2]) == pytest.approx(np.mean(w * (data[3] - beta)), abs=1e-6)
    close = difference(log, near[None], TABLES[2], limits)
    assert (np.asarray(close.error[0, :-2]) < 0.2 * np.asarray(close.apart[0])).all()
    assert float(close.error[0, PAIRED.index("delta_beta")]) <= float(close.error[0, PAIRED.index("ips")]) * 1.001
    assert float(close.error[0, PAIRED.index("delta_controls")]) <= float(close.error[0, PAIRED.index("ips")]) * 1.001
    same = difference(log, TABLES[2][None], TABLES[2], limits)
    np.testing.assert_allclose(same.value, 0, atol=1e-6)
    against_log = difference(log, TABLES, None, limits)
    np.testing.assert_allclose(against_log.value[:, 1], apart.value[:, 1] - data[3].mean(), atol=1e-5)


def test_slates_need_the_assumption_that_holds() -> None:
    """Clicks that depend on the item above: the independent estimator is off, those that know of it are not."""
    rng = np.random.default_rng(3)
    items, places, n = 3, 3, 40_000
    logging = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.4, 0.3, 0.3]])
    policy = np.array([[0.2, 0.2, 0.6], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]])
    rate = rng.uniform(0.1, 0.5, (items, items + 1))  # by item, and by the item above (the last: none)
    weight, reward, predicted, expected = (np.zeros((places, n)) for _ in range(4))
    above, truth, before = np.full(n, items), 0.0, np.eye(items + 1)[items]
    for k in range(places):
        item = (np.cumsum(logging[k]) > rng.random((n, 1))).argmax(1)
        reward[k] = rng.random(n) < rate[item, above]
        weight[k] = policy[k][item] / logging[k][item]
        model = np.array([reward[k][item == a].mean() for a in range(items)])
        predicted[k], expected[k] = model[item], policy[k] @ model
        truth += policy[k] @ rate @ before
        above, before = item, np.append(policy[k], 0.0)
    arrays = [jnp.asarray(a, jnp.float32) for a in (weight[None], reward, predicted, expected[None])]
    value, error = (dict(zip(SLATES, rows[0].tolist(), strict=True)) for rows in slate_values(*arrays))
    full = np.cumprod(weight, axis=0)
    assert value["reward_interaction"] == pytest.approx((full * reward).sum(0).mean(), rel=1e-4)
    assert value["standard"] == pytest.approx((full[-1] * reward.sum(0)).mean(), rel=1e-4)
    assert value["sn_independent"] == pytest.approx(((weight * reward).mean(1) / weight.mean(1)).sum(), rel=1e-4)
    assert error["independent"] == pytest.approx((weight * reward).sum(0).std() / n**0.5, rel=1e-3)
    off = {name: (value[name] - truth) / error[name] for name in SLATES}
    assert abs(off["independent"]) > 4
    for name in ("reward_interaction", "sn_reward_interaction", "standard", "sn_standard", "cascade_dr"):
        assert abs(off[name]) < 3, (name, off)
    assert error["cascade_dr"] < error["reward_interaction"] < error["standard"]


def test_draws_do_not_outgrow_memory() -> None:
    log = logged(*one_log(50))
    assert bootstrap(log, TABLES, jax.random.key(1), limits_of(50), whole.TOGETHER + 1).shape[0] == whole.TOGETHER + 1

"""Simulated online tests: what visits bring, intervals that hold every day, and arms that are told apart."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from transfer.evaluate.online.interleaving import drafted, preference
from transfer.evaluate.online.sequential import half_width, tuned
from transfer.evaluate.online.trial import Trial, trial
from transfer.evaluate.online.visits import Market, brought, seen, visit, worth

RNG = np.random.default_rng(0)
READERS, ITEMS, LENGTH, VISITS = 40, 12, 4, 40_000
CLICK, BUY, STARS = (RNG.uniform(low, high, (READERS, ITEMS)) for low, high in ((0.05, 0.4), (0.1, 0.6), (1, 5)))
PRICE = RNG.uniform(5, 20, ITEMS)
BY_WORTH = np.argsort(-CLICK * BUY * PRICE, axis=1)
BEST, WORST = BY_WORTH[:, :LENGTH], BY_WORTH[:, ::-1][:, :LENGTH]
REVENUE = 2


def market(bias: float) -> Market:
    return Market(*(jnp.asarray(of, jnp.float32) for of in (CLICK, BUY, STARS, PRICE, 0.5)), seen(LENGTH, bias))


def outcome(arms: list[np.ndarray], key: int, give_up: bool) -> Trial:
    return trial(jax.random.key(key), market(0.5), jnp.asarray(arms), 40, 200, REVENUE, give_up=give_up)


@pytest.mark.parametrize(("bias", "explore"), [(1.0, 0.0), (0.0, 0.0), (1.0, 0.3)])
def test_visits_bring_what_their_chances_say(bias: float, explore: float) -> None:
    shop, lists = market(bias), jnp.asarray([BEST, WORST])
    told = worth(shop, lists, explore)
    of = np.full(VISITS, 3)
    shown = visit(jax.random.key(0), shop, lists, jnp.zeros(VISITS, jnp.int32), jnp.asarray(of), explore)
    seen_at = 1 / np.arange(1, LENGTH + 1) ** bias
    chance = explore / ITEMS + (1 - explore) * (np.arange(ITEMS)[None, :] == BEST[3][:, None])  # [positions, items]
    by_hand = (
        seen_at @ chance @ CLICK[3],
        seen_at @ chance @ (CLICK * BUY)[3],
        seen_at @ chance @ ((CLICK * BUY)[3] * PRICE),
    )
    np.testing.assert_allclose(told[:3, 0, 3], by_hand, rtol=1e-5)
    came = np.asarray(brought(shop, shown))
    np.testing.assert_allclose(came.mean(1), told[:, 0, 3], atol=4 * came.std(1).max() / VISITS**0.5)
    often = [np.bincount(np.asarray(shown.item)[:, k], minlength=ITEMS) / VISITS for k in range(LENGTH)]
    np.testing.assert_allclose(often, chance, atol=0.01)
    np.testing.assert_allclose(shown.propensity, chance[np.arange(LENGTH), np.asarray(shown.item)], rtol=1e-5)
    bought, feedback = np.asarray(shown.purchase) == 1, np.asarray(shown.feedback)
    assert (feedback[~bought] == -1).all()
    assert (np.asarray(shown.click)[bought] == 1).all()
    stars = STARS[3][np.asarray(shown.item)[bought]]
    for answer, chance_of_it in ((1, norm.cdf((stars - 3.5) / 0.5)), (0, norm.cdf((2.5 - stars) / 0.5))):
        assert (feedback[bought] == answer).mean() == pytest.approx(chance_of_it.mean(), abs=0.03)


def test_the_last_position_is_clicked_less_only_where_there_is_bias() -> None:
    same = np.broadcast_to(np.arange(LENGTH), (READERS, LENGTH))  # the same items, in one order and in the other
    for bias, expected in ((0.0, 1.0), (1.0, 1 / LENGTH)):
        shop = market(bias)._replace(click=jnp.full((READERS, ITEMS), 0.4))
        shown = visit(jax.random.key(1), shop, jnp.asarray(same)[None], jnp.zeros(VISITS, int), jnp.zeros(VISITS, int))
        rate = np.asarray(shown.click).mean(0)
        assert rate[-1] / rate[0] == pytest.approx(expected, rel=0.05)


def test_the_sequence_is_its_formula_and_holds_every_day() -> None:
    n, sigma, rho = 50.0, 2.0, np.sqrt((2 * np.log(20) + np.log(1 + 2 * np.log(20))) / 1000)
    expected = sigma * np.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * np.log(np.sqrt(n * rho**2 + 1) / 0.05))
    assert tuned() == pytest.approx(rho)
    assert float(half_width(jnp.float32(n), jnp.float32(sigma))) == pytest.approx(expected, rel=1e-5)
    assert not np.isfinite(half_width(jnp.float32(1), jnp.float32(sigma)))
    days = np.arange(1, 1001) * 20.0
    means = np.cumsum(np.random.default_rng(1).standard_normal((2000, 1000)) * 20**0.5, axis=1) / days
    half = np.asarray(half_width(jnp.asarray(days, jnp.float32), jnp.ones(1000)))
    ever = partial(lambda half: (np.abs(means) > half).any(axis=1).mean())
    assert 0.01 < ever(half) < 0.05, "Ville: at most 0.05 at any time, and near it, or the interval is too wide"
    assert ever(1.96 / np.sqrt(days)) > 0.3, "a test of one day, looked at daily, errs more"


def test_a_trial_finds_the_best_arm_and_regrets_less_for_it() -> None:
    found, kept = (outcome([WORST, BEST, WORST], 0, give_up) for give_up in (True, False))
    assert np.asarray(found.open[-1]).tolist() == [False, True, False]
    assert np.asarray(kept.open).all()
    assert float(found.regret[-1]) < 0.5 * float(kept.regret[-1])
    arms = worth(market(0.5), jnp.asarray([WORST, BEST, WORST]))[REVENUE].mean(1)
    assert (np.abs(np.asarray(kept.mean[-1] - arms)) < np.asarray(kept.half[-1])).all()
    visits = np.asarray(kept.visits)
    assert float(kept.regret[-1]) == pytest.approx(float(visits[-1] @ np.asarray(arms.max() - arms)), rel=1e-4)
    np.testing.assert_array_equal(visits[-1], np.bincount(np.asarray(kept.arm).ravel(), minlength=3))
    given_up = np.asarray(found.open).argmin(0)[0]
    assert not (np.asarray(found.arm)[given_up + 1 :] == 0).any(), "nobody is shown what was given up"
    alike = outcome([BEST] * 3, 1, True)
    assert np.asarray(alike.open).all(), "arms that are alike are not told apart"
    assert float(alike.regret[-1]) == pytest.approx(0, abs=1e-2)


def test_an_arm_without_rewards_is_not_judged_by_their_spread() -> None:
    shop = market(0.5)._replace(buy=jnp.full((READERS, ITEMS), 0.005))  # a purchase in about 400 visits: on most days none
    few = trial(jax.random.key(0), shop, jnp.asarray([WORST, BEST]), 40, 200, REVENUE)
    value = np.asarray(worth(shop, jnp.asarray([WORST, BEST]))[REVENUE].mean(1))
    assert (np.abs(np.asarray(few.mean) - value) <= np.asarray(few.half)).all()
    assert np.isinf(np.asarray(few.half)[0]).all()


def test_a_draft_takes_turns_and_repeats_nothing() -> None:
    first, second = jnp.array([1, 2, 3, 4, 5]), jnp.array([3, 1, 6, 7, 8])
    items, team = (
        np.asarray(x) for x in jax.vmap(lambda key: drafted(key, first, second))(jax.random.split(jax.random.key(0), 200))
    )
    assert (np.diff(np.sort(items, axis=1)) > 0).all()
    assert (np.sort(team[:, :2]) == [0, 1]).all()
    assert (np.sort(team[:, 2:4]) == [0, 1]).all()
    assert (items[:, 0] == np.where(team[:, 0] == 0, 1, 3)).all()
    assert team[:, 0].mean() == pytest.approx(0.5, abs=0.12)


def test_interleaving_prefers_the_better_list_and_none_of_two_that_are_alike() -> None:
    good, bad = jnp.argsort(-CLICK, axis=1)[:, :LENGTH], jnp.argsort(CLICK, axis=1)[:, :LENGTH]
    for bias in (0.0, 2.0):
        ask = partial(preference, jax.random.key(0), market(bias), visits=4096)
        mine, other, same = (np.asarray(ask(*pair)) for pair in ((bad, good), (good, bad), (good, good)))
        assert mine.mean() > 5 * mine.std() / 4096**0.5
        assert other.mean() < -5 * other.std() / 4096**0.5
        assert abs(same.mean()) < 3 * same.std() / 4096**0.5


def test_interleaving_counts_clicks_on_what_is_seen() -> None:
    """With so much bias only the first position is: it is either arm's best, one time in two."""
    first, second = BEST, WORST
    came = np.asarray(preference(jax.random.key(2), market(40.0), jnp.asarray(first), jnp.asarray(second), 8192))
    assert set(came) <= {-1.0, 0.0, 1.0}
    clicked = [CLICK[np.arange(READERS), of[:, 0]].mean() / 2 for of in (first, second)]
    for sign, chance in zip((-1, 1), clicked, strict=True):
        assert (came == sign).mean() == pytest.approx(chance, abs=4 * (chance / 8192) ** 0.5)


def test_every_evening_of_a_trial_is_what_its_visits_say() -> None:
    """Means, sequences for as many arms, and who is open: by hand, from what was shown."""
    arms, days = [BEST, np.roll(BEST, 1, axis=1), BY_WORTH[:, 1 : 1 + LENGTH], WORST], 40
    found = outcome(arms, 3, True)
    shown, gone = np.ones(len(arms), bool), 0
    gains = np.where(np.asarray(found.shown.purchase) == 1, PRICE[np.asarray(found.shown.item)], 0.0).sum(axis=2)
    for day in range(days):
        low, high = np.full(len(arms), -np.inf), np.full(len(arms), np.inf)
        for arm in range(len(arms)):
            mine = gains[: day + 1][np.asarray(found.arm)[: day + 1] == arm]
            assert float(found.mean[day, arm]) == pytest.approx(mine.mean(), rel=1e-4)
            if (mine > 0).sum() >= 30:
                half = half_width(jnp.float32(len(mine)), jnp.float32(mine.std()), 0.05 / len(arms))
                assert float(found.half[day, arm]) == pytest.approx(float(half), rel=1e-3)
                low[arm], high[arm] = mine.mean() - float(half), mine.mean() + float(half)
            else:
                assert np.isinf(found.half[day, arm])
        shown &= high >= low[shown].max()
        np.testing.assert_array_equal(found.open[day], shown)
        gone = max(gone, int((~shown).sum()))
    assert 0 < gone < len(arms), "else nothing is tested"

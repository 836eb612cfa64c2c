"""An A/B test of several arms over days, looked at every evening, which gives up arms that have lost."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.evaluate.online.sequential import ALPHA, half_width, spread_of
from transfer.evaluate.online.visits import Market, Visits, brought, visit, worth

LEAST = 30  # rewarded visits: with fewer an arm's spread is not known, and its sequence is without end


class Trial(NamedTuple):
    """Of every day: visits so far, mean reward and half of its confidence sequence, float32 [days, arms]; open: which arms
    are shown the next day, bool [days, arms]; regret: what the best arm would have brought more, so far, float32 [days];
    arm and reader of each visit, int32 [days, readers]; shown: what was shown to them and what came of it."""

    visits: jax.Array
    mean: jax.Array
    half: jax.Array
    open: jax.Array
    regret: jax.Array
    arm: jax.Array
    reader: jax.Array
    shown: Visits


@partial(jax.jit, static_argnames=("days", "readers"))
def trial(
    key: jax.Array,
    market: Market,
    lists: jax.Array,
    days: int,
    readers: int,
    reward: int,
    explore: float | jax.Array = 0.0,
    give_up: bool | jax.Array = True,
) -> Trial:
    """A test over days with so many visits a day, each of a random reader to one of the arms that are open, drawn alike.

    lists: int32 [arms, people, positions]; reward: a row of `worth`. An arm is given up when the upper end of its sequence
    is below the lower end of another's; that any of the sequences ever leaves out its mean has chance ALPHA at most, as far
    as LEAST rewarded visits are many.
    give_up: False keeps all arms open.
    """
    arms, people = lists.shape[:2]
    value = jnp.mean(worth(market, lists, explore)[reward], axis=1)
    loss = jnp.max(value) - value

    def day(state: Any, number: jax.Array) -> tuple[Any, Trial]:
        count, rewarded, total, squares, is_open, regret = state
        who, which, what = jax.random.split(jax.random.fold_in(key, number), 3)
        reader = jax.random.randint(who, (readers,), 0, people)
        arm = jax.random.categorical(which, jnp.where(is_open, 0.0, -jnp.inf), shape=(readers,))
        shown = visit(what, market, lists, arm, reader, explore)
        gain = brought(market, shown)[reward]
        came = jax.ops.segment_sum(jnp.ones_like(gain), arm, arms)
        count, total = count + came, total + jax.ops.segment_sum(gain, arm, arms)
        rewarded = rewarded + jax.ops.segment_sum((gain > 0).astype(jnp.float32), arm, arms)
        squares = squares + jax.ops.segment_sum(gain**2, arm, arms)
        mean, spread = spread_of(count, total, squares)
        half = jnp.where(rewarded < LEAST, jnp.inf, half_width(count, spread, ALPHA / arms))
        regret = regret + jnp.sum(came * loss)
        best = jnp.max(jnp.where(is_open, mean - half, -jnp.inf))
        is_open = is_open & (jnp.logical_not(give_up) | (mean + half >= best))
        state = (count, rewarded, total, squares, is_open, regret)
        return state, Trial(count, mean, half, is_open, regret, arm, reader, shown)

    zero = jnp.zeros(arms, jnp.float32)
    state = (zero, zero, zero, zero, jnp.ones(arms, bool), jnp.float32(0))
    return jax.lax.scan(day, state, jnp.arange(days))[1]

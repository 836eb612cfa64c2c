"""What a visit brings: a reader looks down a list, clicks what she likes of what she sees, buys some of it and judges that.

    position k = 1, 2, … is seen:  k^-η        clicked if seen:  click(u, i)        bought after a click:  buy(u, i)
    stars of what was bought:      rating(u, i) + noise N(0, 1);   feedback: 1 from 3.5 stars on, 0 below 2.5, else none

η is the position bias; 0: every position is seen. A position shows the item that the list has there, or, with chance ε, one
drawn from all items alike, so that its propensity is (1 - ε) [i is the list's] + ε / items.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

LIKED, DISLIKED = 3.5, 2.5  # stars that round to 4 or more, and to 2 or less
NO_ANSWER = -1


class Market(NamedTuple):
    """What readers would do with every item: click, buy and rating float32 [readers, items], price [items]; noise: of the
    stars. seen: the chance that a position is looked at, float32 [positions]."""

    click: jax.Array
    buy: jax.Array
    rating: jax.Array
    price: jax.Array
    noise: jax.Array
    seen: jax.Array


class Visits(NamedTuple):
    """What was shown and what came of it: item, click, purchase, feedback (1, 0, NO_ANSWER), int32 [visits, positions],
    and the chance of the item there, float32."""

    item: jax.Array
    propensity: jax.Array
    click: jax.Array
    purchase: jax.Array
    feedback: jax.Array


def seen(positions: int, bias: float | jax.Array) -> jax.Array:
    """k^-η, float32 [positions]."""
    return jnp.arange(1, positions + 1, dtype=jnp.float32) ** -jnp.asarray(bias, jnp.float32)


@jax.jit
def worth(market: Market, lists: jax.Array, explore: float | jax.Array = 0.0) -> jax.Array:
    """Expected clicks, purchases, revenue and likes of a visit, float32 [4, arms, readers].

    lists: int32 [arms, readers, positions].
    """
    liked = norm.cdf((market.rating - LIKED) / jnp.maximum(market.noise, 1e-6))
    bought = market.click * market.buy
    values = jnp.stack([market.click, bought, bought * market.price[None, :], bought * liked])
    listed = values[:, jnp.arange(lists.shape[1])[None, :, None], lists]
    drawn = jnp.mean(values, axis=-1)[:, None, :, None]
    return ((1 - explore) * listed + explore * drawn) @ market.seen


@jax.jit
def visit(
    key: jax.Array, market: Market, lists: jax.Array, arm: jax.Array, reader: jax.Array, explore: float | jax.Array = 0.0
) -> Visits:
    """Visits of readers to arms, both int32 [visits]."""
    keys = jax.random.split(key, 5)
    own = lists[arm, reader]
    strange = jax.random.uniform(keys[0], own.shape) < explore
    item = jnp.where(strange, jax.random.randint(keys[1], own.shape, 0, len(market.price)), own)
    of = (reader[:, None], item)
    click = jax.random.uniform(keys[2], item.shape) < market.seen[None, :] * market.click[of]
    purchase = click & (jax.random.uniform(keys[3], item.shape) < market.buy[of])
    stars = market.rating[of] + market.noise * jax.random.normal(keys[4], item.shape)
    answer = jnp.where(stars >= LIKED, 1, jnp.where(stars < DISLIKED, 0, NO_ANSWER))
    return Visits(
        item,
        jnp.where(item == own, 1 - explore, 0.0) + explore / len(market.price),
        click.astype(jnp.int32),
        purchase.astype(jnp.int32),
        jnp.where(purchase, answer, NO_ANSWER).astype(jnp.int32),
    )


@jax.jit
def brought(market: Market, visits: Visits) -> jax.Array:
    """Clicks, purchases, revenue and likes of every visit, float32 [4, visits]."""
    revenue = jnp.where(visits.purchase == 1, market.price[visits.item], 0.0)
    told = (visits.click, visits.purchase, revenue, visits.feedback == 1)
    return jnp.stack([jnp.sum(of, axis=-1).astype(jnp.float32) for of in told])

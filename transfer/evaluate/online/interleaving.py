"""Two arms in one list: team-draft interleaving (Radlinski, Kurup & Joachims 2008).

The arms take turns, in an order drawn for every round, to add their best item that is not yet in the list; a click counts
for the arm that added the item.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from transfer.evaluate.online.visits import Market

AT_ONCE = 1024  # visits


def drafted(key: jax.Array, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A list as long as either, int32 [positions], and which arm added each of it, 0 or 1."""
    length = first.shape[0]
    both = jnp.stack([first, second])
    starts = jax.random.bernoulli(key, shape=(-(-length // 2),)).astype(jnp.int32)
    turns = jnp.stack([starts, 1 - starts], axis=1).reshape(-1)[:length]

    def add(chosen: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        own = both[turns[place]]
        free = ~jnp.any(own[:, None] == chosen[None, :], axis=1)
        item = own[jnp.argmax(free)]
        return chosen.at[place].set(item), item

    empty = jnp.full(length, -1, first.dtype)
    return jax.lax.scan(add, empty, jnp.arange(length))[0], turns


@partial(jax.jit, static_argnames="visits")
def preference(key: jax.Array, market: Market, first: jax.Array, second: jax.Array, visits: int) -> jax.Array:
    """Clicks for the second arm less those for the first in each visit of a random reader, float32 [visits].

    first, second: lists int32 [readers, positions].
    """

    def one(key: jax.Array) -> jax.Array:
        who, how, what = jax.random.split(key, 3)
        reader = jax.random.randint(who, (), 0, first.shape[0])
        items, team = drafted(how, first[reader], second[reader])
        clicked = jax.random.uniform(what, items.shape) < market.seen * market.click[reader, items]
        return jnp.sum(jnp.where(clicked, 2 * team - 1, 0)).astype(jnp.float32)

    return jax.lax.map(one, jax.random.split(key, visits), batch_size=AT_ONCE)

"""How alike users are by their source histories: k(u, v) = Σ_d w_d² x_ud · x_vd / (n_u n_v)^normalise, from sparse rows.

x_ud is u's row of ones in source d, n_u her number of source events.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.data.interactions.world import World
from transfer.program import Hp
from transfer.solvers import histories
from transfer.solvers.joint import source_weights

# Of events x users at once.
CELLS = 2**24


def readers(world: World) -> jax.Array:
    """Whom both domains know in training, who tell what follows from what: int32 [m], n_users for padding."""
    return jnp.arange(world.n_users) if world.bridges is None else world.bridges


def likeness(world: World, hp: Hp, users: jax.Array, to: jax.Array) -> jax.Array:
    """k of users [B] and users `to` [m] -> float32 [B, m]; 0 for the user n_users, who has no events.

    Reads hp.source_weight, one for each source too, and hp.normalise.
    """
    scale = jnp.maximum(sum(histories.user_counts(side.train) for side in world.sources), 1.0) ** -hp["normalise"]
    weights = source_weights(world, hp)

    def some(users: jax.Array) -> jax.Array:
        total = jnp.zeros((users.shape[0], world.n_users))
        for side, weight in zip(world.sources, weights, strict=True):
            ones = jnp.ones_like(side.train.ratings)
            rows = histories.rows(side.train, ones, users)
            total += weight**2 * histories.times_transposed(rows, side.train, ones)
        return total.at[:, to].get(mode="fill", fill_value=0.0)

    events = max(side.train.users.shape[0] for side in world.sources)
    products = jax.lax.map(some, _in_blocks(users, max(CELLS // events, 1), world.n_users))
    products = products.reshape(-1, to.shape[0])[: users.shape[0]]
    ours, theirs = (scale.at[of].get(mode="fill", fill_value=0.0) for of in (users, to))
    return products * ours[:, None] * theirs[None, :]


def _in_blocks(users: jax.Array, size: int, beyond: int) -> jax.Array:
    """Users [B] in rows of about `size`, filled up with the user `beyond`."""
    rows = -(-users.shape[0] // size)
    width = -(-users.shape[0] // rows)
    return jnp.pad(users, (0, rows * width - users.shape[0]), constant_values=beyond).reshape(rows, width)

"""How alike users are by their source histories, from sparse rows:

k(u, v) = Σ_d w_d² (Σ_i g_i² x_ui x_vi / (n_u n_v)^normalise + hp.counts c_ud c_vd) + hp.leading z_u · z_v.

x_ui is 1 for an event of u with item i of source d, n_u her number of source events, g_i what the item weighs
(`histories.item_weights`), c_ud = ln(1 + n_ud), n_ud her events in source d, less the mean over `readers`. z_u are the
products of the row w_d g_i x_ui / n_u^normalise with leading singular vectors of all such rows, where they are given
(`directions`): readers are alike who watched different films of one taste.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.program import Hp
from transfer.solvers import histories, spectra
from transfer.solvers.joint import source_weights
from transfer.solvers.products import products


def readers(world: World) -> jax.Array:
    """Whom both domains know in training, who tell what follows from what: int32 [m], n_users for padding."""
    return jnp.arange(world.n_users) if world.bridges is None else world.bridges


def likeness(world: World, hp: Hp, to: jax.Array, vectors: jax.Array | None = None) -> Callable[[jax.Array], jax.Array]:
    """Users [B] -> k of them and users `to` [m], float32 [B, m]; 0 for the user n_users, who has no events.

    Reads hp.source_weight, one for each source too, hp.normalise, and where they are given hp.inverse_frequency, hp.counts;
    with singular `vectors` [source items, rank] hp.leading.
    """
    weights = source_weights(world, hp)
    in_common = products(*_weighed(world, hp, weights), to)
    scale, counts = _scale(world, hp), _counts(world, hp, weights)
    if vectors is not None:
        places = jnp.sqrt(hp["leading"]) * _times(world, hp)[0](vectors)
        counts = jnp.concatenate([counts, places], axis=1)

    def of(users: jax.Array) -> jax.Array:
        alike = in_common(users)[0] * _of(scale, users)[:, None] * _of(scale, to)[None, :]
        return alike + _of(counts, users) @ _of(counts, to).T

    return of


def among(world: World, hp: Hp, users: jax.Array, vectors: jax.Array | None = None) -> jax.Array:
    """k of many users [m], each of them once, n_users for padding -> float32 [m, m]."""
    return likeness(world, hp, users, vectors)(users)


def directions(world: World, hp: Hp, rank: int, key: jax.Array) -> jax.Array:
    """The leading singular vectors of all users' source rows: float32 [source items, rank]."""
    return spectra.right_vectors(*_times(world, hp), world.n_users, rank, key)


def by_source(world: World, hp: Hp, users: jax.Array) -> jax.Array:
    """What every source adds to the k of `among` where its weight w_d is 1: float32 [sources, m, m]."""
    ones = [1.0] * len(world.sources)
    in_common = products(*_weighed(world, hp, ones), users, _widths(world))(users)
    scale, counts = _of(_scale(world, hp), users), _of(_counts(world, hp, ones), users)
    return in_common * scale[None, :, None] * scale[None, None, :] + counts.T[:, :, None] * counts.T[:, None, :]


def _weighed(world: World, hp: Hp, weights: Sequence[jax.Array | float]) -> tuple[Interactions, jax.Array]:
    """The events of the sources as those of one, and w_d g_i of each."""
    widths = _widths(world)
    events = histories.joined([side.train for side in world.sources])
    of_item = jnp.stack([jnp.float32(w) for w in weights])[histories.domains_of(widths)]
    values = histories.item_weights(events, hp.get("inverse_frequency", 0.0), widths)
    return events, values * of_item.at[events.items].get(mode="fill", fill_value=0.0)


def _times(world: World, hp: Hp) -> tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]:
    """Products of the users' rows w_d g_i x_ui n_u^-normalise: [source items, r] -> [users, r], and back."""
    events, values = _weighed(world, hp, source_weights(world, hp))
    values = values * _of(_scale(world, hp), events.users)

    def forth(table: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values[:, None] * _of(table, events.items), events.users, world.n_users)

    def back(table: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values[:, None] * _of(table, events.users), events.items, events.n_items)

    return forth, back


def _widths(world: World) -> list[int]:
    return [side.train.n_items for side in world.sources]


def _scale(world: World, hp: Hp) -> jax.Array:
    """n^-normalise of every user [users]."""
    return jnp.maximum(sum(histories.user_counts(side.train) for side in world.sources), 1.0) ** -hp["normalise"]


def _counts(world: World, hp: Hp, weights: Sequence[jax.Array | float]) -> jax.Array:
    """w_d c √hp.counts of every user [users, sources]."""
    counts = jnp.stack([jnp.log1p(histories.user_counts(side.train)) for side in world.sources], axis=1)
    known = readers(world)
    there = (known < world.n_users).astype(jnp.float32)[:, None]
    mean = jnp.sum(there * _of(counts, known), axis=0, keepdims=True) / jnp.maximum(jnp.sum(there), 1.0)
    strength = jnp.stack([jnp.float32(w) for w in weights]) * jnp.sqrt(jnp.float32(hp.get("counts", 0.0)))
    return (counts - mean) * strength[None, :]


def _of(values: jax.Array, users: jax.Array) -> jax.Array:
    """Those of some users, or items; 0 for the user n_users."""
    return values.at[users].get(mode="fill", fill_value=0.0)

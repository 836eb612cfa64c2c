"""A model of rewards by what was shown where: shrunken means of cells, cross-fitted.

    q̂(cell, a) = (Σ r + s r̄) / (n + s)            sums over the rows that showed item a in the cell, s = STRENGTH

A cell is a position, or a position and a group of readers. Rows are scored by the model of the other folds (Chernozhukov et
al. 2018), so that no row's own reward is in what is taken from it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

STRENGTH = 1.0  # rows that the mean of all rewards counts for
FOLDS = 2


class Model(NamedTuple):
    """q̂ of all rows, float32 [cells, items], and without those of each fold, [folds, cells, items]; n float32 [cells,
    items]: how often an item was shown in a cell."""

    whole: jax.Array
    without: jax.Array
    shown: jax.Array


def reward_model(reward: jax.Array, cell: jax.Array, item: jax.Array, fold: jax.Array, cells: int, items: int) -> Model:
    """The model of rewards float32 [n] by cell, item and fold, int32 [n]."""
    place = (fold * cells + cell) * items + item
    shape = (FOLDS, cells, items)
    rewards = jax.ops.segment_sum(reward, place, FOLDS * cells * items).reshape(shape)
    shown = jax.ops.segment_sum(jnp.ones_like(reward), place, FOLDS * cells * items).reshape(shape)

    def fitted(above: jax.Array, below: jax.Array) -> jax.Array:
        return (above + STRENGTH * jnp.sum(above) / jnp.sum(below)) / (below + STRENGTH)

    total, count = jnp.sum(rewards, axis=0), jnp.sum(shown, axis=0)
    return Model(fitted(total, count), jax.vmap(fitted)(total[None] - rewards, count[None] - shown), count)

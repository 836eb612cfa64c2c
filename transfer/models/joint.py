"""The target's items and the sources' as columns of one users x items matrix, target first."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from transfer.data.world import Interactions, World
from transfer.models import histories
from transfer.program import Hp


def _domains(world: World, both: bool) -> list[Interactions]:
    return [world.target.train, *(side.train for side in world.sources if both)]


def joint_width(world: World, both: bool) -> int:
    """Number of columns."""
    return sum(events.n_items for events in _domains(world, both))


Weights = Sequence[jax.Array | float]


def source_weights(world: World, hp: Hp) -> Weights:
    """hp.source_weight for every source, times hp.source_weight_1, hp.source_weight_2, … where they are given."""
    return [hp["source_weight"] * hp.get(f"source_weight_{i}", 1.0) for i, _ in enumerate(world.sources, start=1)]


def joint_matrix(world: World, both: bool, weights: Weights) -> jax.Array:
    """All rows: 1 for a target event, the source's weight for a source event [users, columns]."""
    blocks = [histories.dense(events, jnp.ones_like(events.ratings)) for events in _domains(world, both)]
    return _joined(blocks, weights)


def joint_rows(world: World, both: bool, weights: Weights, users: jax.Array) -> jax.Array:
    """The rows of some users [B, columns]."""
    blocks = [histories.rows(events, jnp.ones_like(events.ratings), users) for events in _domains(world, both)]
    return _joined(blocks, weights)


def _joined(blocks: list[jax.Array], weights: Weights) -> jax.Array:
    sources = [weight * block for weight, block in zip(weights, blocks[1:], strict=False)]
    return jnp.concatenate([blocks[0], *sources], axis=1)

"""The target's items and the sources' as columns of one users x items matrix, target first."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.data.world import Interactions, World
from transfer.models import histories


def _domains(world: World, both: bool) -> list[Interactions]:
    return [world.target.train, *(side.train for side in world.sources if both)]


def joint_width(world: World, both: bool) -> int:
    """Number of columns."""
    return sum(events.n_items for events in _domains(world, both))


def joint_matrix(world: World, both: bool, source_weight: jax.Array | float) -> jax.Array:
    """All rows: 1 for a target event, source_weight for a source event [users, columns]."""
    blocks = [histories.dense(events, jnp.ones_like(events.ratings)) for events in _domains(world, both)]
    return jnp.concatenate([blocks[0], *(source_weight * block for block in blocks[1:])], axis=1)


def joint_rows(world: World, both: bool, source_weight: jax.Array | float, users: jax.Array) -> jax.Array:
    """The rows of some users [B, columns]."""
    blocks = [histories.rows(events, jnp.ones_like(events.ratings), users) for events in _domains(world, both)]
    return jnp.concatenate([blocks[0], *(source_weight * block for block in blocks[1:])], axis=1)

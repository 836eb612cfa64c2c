"""Whether a network reads the entries of its batches alone: where nearly all of their inputs are zero, on a CPU."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from transfer.data.examples.sparse_rows import sparse_rows
from transfer.data.examples.world import ExamplesWorld
from transfer.learning.windows import most, rounded

DENSEST = 0.03  # share of entries: a product with all zeros costs as much at about 0.045


def with_sparse_rows(world: ExamplesWorld, size: int) -> ExamplesWorld:
    """The world that knows the entries of its training inputs, where they are few: batches of `size` are made of them."""
    parts = [world.unlabelled, *(side.train.x for side in world.sources)]
    parts += [world.labelled.x] if world.labelled else []
    if any(x.ndim != 2 or not x.shape[0] or not jnp.issubdtype(x.dtype, jnp.floating) for x in parts):
        return world
    counts = [np.count_nonzero(x, axis=1) for x in parts]
    if sum(each.sum() for each in counts) > DENSEST * sum(x.size for x in parts):
        return world
    room = max(rounded(most(each, each.max(), size)) for each in counts)
    unlabelled, *others = (sparse_rows(x, size, room) for x in parts)
    examples = [*(side.train for side in world.sources), *([world.labelled] if world.labelled else [])]
    told = [replace(each, sparse=rows) for each, rows in zip(examples, others, strict=True)]
    sources = tuple(replace(side, train=train) for side, train in zip(world.sources, told, strict=False))
    labelled = told[-1] if world.labelled else None
    return replace(world, sources=sources, labelled=labelled, sparse_unlabelled=unlabelled)


def multiplies_on_a_cpu() -> bool:
    """Elsewhere a product with zeros costs less than to gather what is there."""
    return jax.default_backend() == "cpu"

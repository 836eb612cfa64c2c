"""Permutation control: is a block of item features, or a modality, used? Its rows are swapped; all else stays as it is.

Rows go to other items of the same domain that have the block too, so that which items have it is still told; those of a
modality to other examples of the same part, such as the labelled ones.
Paper: Breiman (2001), importance by permutation; here the model is fitted on the swapped rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from transfer.data.examples.world import ExamplesWorld
from transfer.data.interactions.world import Side, World
from transfer.errors import TransferError
from transfer.learning.fusion import columns_of, modalities
from transfer.program import AnyWorld, stream


def permuted(blocks: tuple[str, ...], seed: int) -> Callable[[AnyWorld], AnyWorld]:
    """What a method sees in place of a world: rows of these blocks swapped in every domain, by the seed alone."""

    def of_examples(world: ExamplesWorld) -> ExamplesWorld:
        def swapped(x: jax.Array, part: str) -> jax.Array:
            rows = x.reshape(-1, x.shape[-1])
            for name in blocks:
                columns = columns_of(world, name)
                rows = rows.at[:, columns].set(swap(rows[:, columns], stream(jax.random.key(seed), f"{name} {part}")))
            return rows.reshape(x.shape)

        return world.with_inputs(swapped)

    def of(side: Side, number: int) -> Side:
        key = jax.random.key(seed)
        swapped = {name: swap(side.features[name], stream(key, name, number)) for name in blocks}
        return replace(side, features=side.features | swapped)

    def view(world: AnyWorld) -> AnyWorld:
        if isinstance(world, ExamplesWorld):
            return of_examples(world)
        sources = tuple(of(side, i) for i, side in enumerate(world.sources, start=1))
        inference = view(world.inference) if world.inference is not None else None
        return replace(world, target=of(world.target, 0), sources=sources, inference=inference)

    return view


def swap(rows: jax.Array, key: jax.Array) -> jax.Array:
    """Rows float32 [items, width] in random order among those that are not zero."""
    there = jnp.any(rows != 0, axis=1)
    draw = jax.random.uniform(key, there.shape)
    places = jnp.argsort(~there, stable=True)  # those with the block first
    return rows.at[places].set(rows[jnp.argsort(jnp.where(there, draw, 2.0), stable=True)])


def check(blocks: tuple[str, ...], world: AnyWorld) -> None:
    """Raise TransferError for a block or modality that the world has not."""
    of_items = isinstance(world, World)
    what = "the items have no such block of features" if of_items else "the examples have no such modality"
    there = tuple(world.target.features) if of_items else modalities(world)
    for name in blocks:
        if name not in there:
            raise TransferError(f"method.permute={name}: {what}; they have {', '.join(there) or 'none'}")

"""The target's items and the sources' as columns of one users x items matrix, target first.

A source's event with an item that the target has too stands in the target's column: there other readers' choices tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import Side, World
from transfer.program import Hp
from transfer.solvers import histories


def _domains(world: World, both: bool) -> list[Interactions]:
    return [world.target.train, *(side.train for side in world.sources if both)]


def joint_width(world: World, both: bool) -> int:
    """Number of columns."""
    return sum(events.n_items for events in _domains(world, both))


Weights = Sequence[jax.Array | float]


def source_weights(world: World, hp: Hp) -> Weights:
    """hp.source_weight for every source, times hp.source_weight_1, hp.source_weight_2, … where they are given."""
    return [source_weight(hp, i) for i, _ in enumerate(world.sources, start=1)]


def source_weight(hp: Hp, place: int) -> jax.Array | float:
    """That of one source, the first of which is 1."""
    return hp["source_weight"] * hp.get(f"source_weight_{place}", 1.0)


def over_rows(world: World, both: bool, weights: Weights, of: Callable[[jax.Array], Any]) -> Any:
    """Σ of(X_B) over blocks X_B of the rows, so that X is never there as a whole."""
    some = histories.blocks(world.n_users, joint_width(world, both))

    def part(users: jax.Array) -> Any:
        return of(joint_rows(world, both, weights, users))

    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(part, some[0]))
    return jax.lax.scan(lambda total, users: (jax.tree.map(jnp.add, total, part(users)), None), zero, some)[0]


def joint_rows(world: World, both: bool, weights: Weights, users: jax.Array) -> jax.Array:
    """The rows of some users [B, columns]: 1 for a target event, the source's weight for a source event."""
    blocks = [histories.rows(events, jnp.ones_like(events.ratings), users) for events in _domains(world, both)]
    return _joined(world, blocks, weights)


def _joined(world: World, blocks: list[jax.Array], weights: Weights) -> jax.Array:
    target, apart = blocks[0], []
    for side, weight, block in zip(world.sources, weights, blocks[1:], strict=False):
        source = weight * block
        if side.target_items is not None:
            shared = side.target_items >= 0
            place = jnp.where(shared, side.target_items, target.shape[1])  # beyond the last: dropped
            target, source = target.at[:, place].add(source, mode="drop"), jnp.where(shared, 0, source)
        apart.append(source)
    return jnp.concatenate([target, *apart], axis=1)


def joint_columns(world: World, both: bool) -> list[jax.Array]:
    """The column of every item of each domain, target first: int32 [items] each."""
    columns, first = [], 0
    for side in (world.target, *(world.sources if both else ())):
        own = first + jnp.arange(side.train.n_items)
        columns.append(own if side.target_items is None else jnp.where(side.target_items >= 0, side.target_items, own))
        first += side.train.n_items
    return columns


class Edges(NamedTuple):
    """X as its entries: users, columns int32 [n], weights float32 [n]; of padding the user is n_users, the weight 0."""

    users: jax.Array
    columns: jax.Array
    weights: jax.Array


def joint_edges(world: World, both: bool, weights: Weights) -> Edges:
    """The events of all domains, one entry each: 1 for a target event, the source's weight for a source event."""
    parts = zip(_domains(world, both), joint_columns(world, both), (1.0, *weights), strict=False)
    entries = [Edges(e.users, columns[e.items], weight * e.there.astype(jnp.float32)) for e, columns, weight in parts]
    return Edges(*(jnp.concatenate(part) for part in zip(*entries, strict=True)))


def joint_edges_of(world: World, both: bool, weights: Weights, users: jax.Array) -> Edges:
    """The entries of some users [B], numbered by their places among them; of padding the user is B, the weight 0."""
    entries = []
    for events, columns, weight in zip(_domains(world, both), joint_columns(world, both), (1.0, *weights), strict=False):
        own, event = histories.events_of(events, users)
        there = (own < users.shape[0]).astype(jnp.float32)
        entries.append(Edges(own, columns[events.items[event]], weight * there))
    return Edges(*(jnp.concatenate(part) for part in zip(*entries, strict=True)))


def joint_features(world: World, both: bool) -> dict[str, jax.Array]:
    """The blocks of the items, rows in the order of the columns: {name: float32 [columns, width]}; 0 where there is none.

    A source's item that the target has too stands in the target's column alone.
    """
    sides = [world.target, *(world.sources if both else ())]

    def of(side: Side, name: str) -> jax.Array:
        rows = side.features[name]
        return rows if side.target_items is None else jnp.where(side.target_items[:, None] >= 0, 0.0, rows)

    return {name: jnp.concatenate([of(side, name) for side in sides]) for name in world.target.features}


def feature_weights(world: World, hp: Hp) -> dict[str, jax.Array]:
    """hp.weight for every block of the items, or in its place hp.weight_NAME where that is given."""
    return {name: hp.get(f"weight_{name}", hp["weight"]) for name in world.target.features}


def most_chosen(world: World, most: int | None) -> World:
    """The world with the `most` items of each domain that are chosen most in training, in that order; None: with all."""

    def fewer(events: Interactions) -> Interactions:
        best = _best(events, most)
        if best is None:
            return events
        place = jnp.full(events.n_items + 1, len(best)).at[best].set(jnp.arange(len(best)))  # beyond the last: in no matrix
        return replace(events, items=place[events.items], item_counts=events.item_counts[best], n_items=len(best))

    def in_target(side: Side) -> jax.Array | None:
        """Where the items that are left stand among those of the target that are left."""
        if side.target_items is None:
            return None
        best, kept = _best(side.train, most), _best(world.target.train, most)
        places = side.target_items if best is None else side.target_items[best]
        return places if kept is None else jnp.full(world.n_items + 1, -1).at[kept].set(jnp.arange(len(kept)))[places]

    def blocks(side: Side) -> dict[str, jax.Array]:
        best = _best(side.train, most)
        return side.features if best is None else {name: rows[best] for name, rows in side.features.items()}

    target = replace(world.target, train=fewer(world.target.train), features=blocks(world.target))
    sources = (
        replace(side, train=fewer(side.train), target_items=in_target(side), features=blocks(side))
        for side in world.sources
    )
    return replace(world, target=target, sources=tuple(sources))


def everywhere(world: World, most: int | None, scores: jax.Array, others: jax.Array | float = 0.0) -> jax.Array:
    """Scores of the target's `most_chosen` items [B, most] among all [B, items]; the others have `others`."""
    best = _best(world.target.train, most)
    if best is None:
        return scores
    return jnp.broadcast_to(others, (scores.shape[0], world.n_items)).at[:, best].set(scores)


def _best(events: Interactions, most: int | None) -> jax.Array | None:
    """The most chosen items, the first ones among equals; None where all are wanted."""
    return jax.lax.top_k(events.item_counts, most)[1] if most and most < events.n_items else None

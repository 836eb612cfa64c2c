"""Readers who were not there when a run was trained: their histories behind the world's own, so that it scores them.

Arrays have room for SHORT events of every reader, or twice, four times … as many, so that requests share a program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer.data.interactions.events import Interactions
from transfer.data.interactions.sequences import Sequences
from transfer.data.interactions.world import Loaded, Side, World
from transfer.errors import TransferError, nearest

# What a reader has, by the name of a domain: ids of items, or (id, rating); the oldest first.
History = Mapping[str, Sequence[str | tuple[str, float]]]


SHORT = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Told:
    """Events of new readers in one domain: items int32 [room], ratings float32 [room], those of reader r at
    starts[r]:starts[r + 1]; padded with an item beyond the last. `order` int32 [room]: the items as they were told.
    `longest` bounds the events of a reader."""

    items: jax.Array
    ratings: jax.Array
    starts: jax.Array
    order: jax.Array
    longest: int = field(metadata={"static": True})


def told(
    loaded: Loaded, indices: Sequence[Mapping[str, int]], histories: Sequence[History]
) -> tuple[list[Told], list[set[int]]]:
    """The events of new readers in every domain, the target first, and the target's items that each of them knows.

    indices: where each domain has its items. A rating below what counts as liked makes an item known and no event; without
    a rating it is liked. An item that is told twice counts once, as it was told last.

    Raises TransferError for a domain or an item that the run does not know, and for ratings where there can be none.
    """
    sides = [loaded.summary["target"], *loaded.summary["sources"]]
    names = [side["name"] for side in sides]
    for history in histories:
        for name in history:
            if name not in names:
                raise TransferError(
                    f"history: no domain {name!r} here{nearest(name, names) or ';'} there are {', '.join(names)}"
                )
    known = [{_found(event, indices[0], names[0])[0] for event in history.get(names[0], ())} for history in histories]
    by_domain = []
    for side, index in zip(sides, indices, strict=True):
        rows = []
        for history in histories:
            events = dict(_found(event, index, side["name"]) for event in history.get(side["name"], ()))
            rows.append(_kept(events, side))
        by_domain.append(_packed(rows, len(index)))
    return by_domain, known


def _found(event: str | tuple[str, float], index: Mapping[str, int], name: str) -> tuple[int, float | None]:
    item, rating = (event, None) if isinstance(event, str) else event
    if item not in index:
        raise TransferError(
            f"history: {name} has no item {item!r} in training; it has {len(index):,}, such as {next(iter(index))}"
        )
    if rating is not None and not math.isfinite(rating):
        raise TransferError(f"history: the rating of {item!r} in {name} is no finite number")
    return index[item], None if rating is None else float(rating)


def _kept(events: dict[int, float | None], side: dict[str, Any]) -> dict[int, float]:
    """What a model reads of a history: the likes, as 1."""
    if side.get("rated"):
        raise TransferError("history: this run foretells ratings, and only rankings are made for new readers")
    least = side.get("positive")
    if least is None and any(rating is not None for rating in events.values()):
        raise TransferError(f"history: {side['name']} was learnt without ratings; give ids alone")
    return {item: 1.0 for item, rating in events.items() if rating is None or least is None or rating >= least}


def _packed(rows: list[dict[int, float]], n_items: int) -> Told:
    lengths = [len(row) for row in rows]
    longest = SHORT
    while longest < max(lengths):
        longest *= 2
    room = longest * len(rows)
    items, order = (np.full(room, n_items, np.int32) for _ in range(2))
    ratings = np.zeros(room, np.float32)
    starts = np.cumsum([0, *lengths]).astype(np.int32)
    for start, row in zip(starts, rows, strict=False):
        places = sorted(row)
        items[start : start + len(row)] = places
        ratings[start : start + len(row)] = [row[place] for place in places]
        order[start : start + len(row)] = list(row)
    arrays = [jnp.asarray(array) for array in (items, ratings, starts, order)]
    return Told(arrays[0], arrays[1], arrays[2], arrays[3], longest)


def without_padding(world: World) -> World:
    """The world whose arrays of training events end with the last of them: what new ones can be put behind."""

    def cut(events: Interactions) -> Interactions:
        there = int(events.starts[-1])
        return replace(events, users=events.users[:there], items=events.items[:there], ratings=events.ratings[:there])

    def side(of: Side) -> Side:
        return replace(of, train=cut(of.train))

    known = jnp.arange(world.n_users) if world.bridges is None else world.bridges
    return replace(world, target=side(world.target), sources=tuple(map(side, world.sources)), bridges=known)


def with_readers(world: World, new: Sequence[Told]) -> World:
    """The world (`without_padding`) with more users at its end, who have these events of each domain; counts stay."""
    n_users, more = world.n_users, new[0].starts.shape[0] - 1
    sides = [_longer(side, events) for side, events in zip((world.target, *world.sources), new, strict=True)]
    known = world.bridges
    assert known is not None
    bridges = jnp.where(known < n_users, known, n_users + more)  # padding is the user beyond the last
    widths = np.cumsum([0, *(side.train.n_items for side in sides)])
    merged = world.merged and _merged(world.merged, new, widths)
    return replace(world, target=sides[0], sources=tuple(sides[1:]), bridges=bridges, merged=merged)


def _longer(side: Side, new: Told) -> Side:
    events, more = side.train, new.starts.shape[0] - 1
    place = jnp.arange(new.items.shape[0])
    train = replace(
        events,
        users=jnp.concatenate([events.users, events.n_users + _reader(new, place)]),
        items=jnp.concatenate([events.items, new.items]),
        ratings=jnp.concatenate([events.ratings, new.ratings]),
        starts=jnp.concatenate([events.starts, events.starts[-1] + new.starts[1:]]),
        n_users=events.n_users + more,
        longest=max(events.longest, new.longest),
    )
    sequence = side.sequence and _merged(side.sequence, [new], np.array([0]))
    return replace(side, train=train, sequence=sequence)


def _reader(new: Told, place: jax.Array) -> jax.Array:
    """Whose the event at a place is, int32; the number of readers for padding."""
    return jnp.searchsorted(new.starts, place, side="right").astype(jnp.int32) - 1


def _merged(of: Sequences, new: Sequence[Told], offsets: Any) -> Sequences:
    """The sequences with those of the readers, domain after domain, the target last, each event on a day of its own."""
    readers = jnp.concatenate([_reader(part, jnp.arange(part.items.shape[0])) for part in (*new[1:], new[0])])
    items = jnp.concatenate(
        [
            part.order + int(offset)
            for part, offset in zip((*new[1:], new[0]), (*offsets[1 : len(new)], offsets[0]), strict=True)
        ]
    )
    order = jnp.argsort(readers, stable=True)
    lengths = sum(jnp.diff(part.starts) for part in new)
    return replace(
        of,
        items=jnp.concatenate([of.items, items[order]]),
        days=jnp.concatenate([of.days, 1 + jnp.max(of.days, initial=0) + jnp.arange(items.shape[0], dtype=of.days.dtype)]),
        starts=jnp.concatenate([of.starts, of.starts[-1] + jnp.cumsum(lengths)]),
    )

"""Folds of one world, and its hidden parts, as arrays of one shape: they share compiled programs and place in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from transfer.data.interactions.events import Heldout, Interactions, chunks_of, in_chunks, interactions_of
from transfer.data.interactions.world import Loaded, World, on_device

# What a hidden part knows of events, by the array that says whose they are.
OF_ROW = {
    "row": ("item", "rating"),
    "seen_row": ("seen_item", "seen_liked"),
    "disliked_row": ("disliked_item",),
    "open_row": ("open_item",),
}


def alike(folds: list[Loaded]) -> list[Loaded]:
    """The same folds on the device, whose arrays are as long as the longest of any fold, and which have one set of sources.

    They have the same users and items, and as many chunks of as many hidden users. What is behind the last event is
    padding, as `Interactions` and `Heldout` say.
    """
    worlds = [one.world for one in folds]
    sources = jax.device_put(worlds[0].sources)
    target = [
        replace(side, train=train, fit=fit, stop=stop)
        for side, train, fit, stop in zip(
            [world.target for world in worlds],
            _events([world.target.train for world in worlds]),
            _events([world.target.fit for world in worlds]),
            _hidden([world.target.stop for world in worlds]),
            strict=True,
        )
    ]
    valid, test = _of_worlds(worlds)
    rated: list[Any] = [world.rated for world in worlds]
    if any(rated):
        rated = _events([of or _no_events(worlds[0]) for of in rated])
    bridges = [_lengthened(np.asarray(world.bridges), _longest(worlds, _bridges), world.n_users) for world in worlds]
    parts = zip(target, valid, test, rated, bridges, strict=True)
    same = [
        replace(world, target=own, sources=sources, valid=valid, test=test, rated=rated, bridges=bridges)
        for world, (own, valid, test, rated, bridges) in zip(worlds, parts, strict=True)
    ]
    return [replace(one, world=on_device(world)) for one, world in zip(folds, same, strict=True)]


def _events(parts: list[Interactions]) -> list[Interactions]:
    length, longest = _longest(parts, lambda part: part.users), max(part.longest for part in parts)
    return [
        replace(
            part,
            users=_lengthened(part.users, length, part.n_users),
            items=_lengthened(part.items, length, part.n_items),
            ratings=_lengthened(part.ratings, length, 0),
            longest=longest,
        )
        for part in parts
    ]


def stacked(parts: list[Heldout]) -> Heldout | None:
    """Hidden parts as one, with a leading axis: what is done to all of them is traced once. None where a part has several
    chunks (padding would be worked on for long), or something that another has not."""
    if not _can_be_one(parts):
        return None
    return jax.tree.map(lambda *leaves: np.stack(leaves), *_hidden(parts))


def _can_be_one(parts: list[Heldout]) -> bool:
    return all(part.users.shape[0] == 1 for part in parts) and len(set(map(jax.tree.structure, parts))) == 1


def _of_worlds(worlds: list[World]) -> tuple[list[Heldout], list[Heldout]]:
    """The validation parts and the test parts; all of one shape where `stacked` would make one of them, so that what is
    compiled for the one serves the other."""
    valid, test = [world.valid for world in worlds], [world.test for world in worlds]
    if not _can_be_one([*valid, *test]):
        return _hidden(valid), _hidden(test)
    both = _hidden([*valid, *test])
    return both[: len(valid)], both[len(valid) :]


def _hidden(parts: list[Heldout]) -> list[Heldout]:
    """In equal chunks, as the one with the most users has them, padded to the longest."""
    if len({part.users.shape for part in parts}) > 1:
        shape = chunks_of(max(int(part.n_users) for part in parts), parts[0].popularity.shape[0])
        parts = [_laid_out(part, *shape) for part in parts]
    width = parts[0].users.shape[1]
    longest = {row: max(getattr(part, row).shape[1] for part in parts) for row in _there(parts[0])}
    return [
        replace(
            part,
            **{row: _lengthened(getattr(part, row), longest[row], width) for row in longest},
            **{name: _lengthened(getattr(part, name), longest[row], 0) for row in longest for name in OF_ROW[row]},
        )
        for part in parts
    ]


def _laid_out(part: Heldout, chunks: int, width: int) -> Heldout:
    """The same users, in their order, in other chunks."""
    before, count = part.users.shape[1], int(part.n_users)
    users = np.zeros(chunks * width, np.int32)
    users[:count] = np.asarray(part.users).reshape(-1)[:count]
    arrays: dict[str, Any] = {"users": users.reshape(chunks, width)}
    for name in _there(part):
        row = np.asarray(getattr(part, name))
        there = row < before
        chunk, row, slot, longest = in_chunks((np.arange(len(row))[:, None] * before + row)[there], chunks, width)
        arrays[name] = np.full((chunks, max(1, longest)), width, np.int32)
        arrays[name][chunk, slot] = row
        for of_row in OF_ROW[name]:
            values = np.asarray(getattr(part, of_row))
            arrays[of_row] = np.zeros(arrays[name].shape, values.dtype)
            arrays[of_row][chunk, slot] = values[there]
    return replace(part, **arrays)


def _there(part: Heldout) -> list[str]:
    return [row for row in OF_ROW if getattr(part, row) is not None]


def _no_events(world: World) -> Interactions:
    none = {"user": np.zeros(0, np.int32), "item": np.zeros(0, np.int32), "rating": np.zeros(0, np.float32)}
    return interactions_of(none, world.n_users, world.n_items)


def _bridges(world: World) -> Any:
    return world.bridges


def _longest(parts: list[Any], array: Callable[[Any], Any]) -> int:
    return max(array(part).shape[-1] for part in parts)


def _lengthened(array: Any, length: int, value: float) -> Any:
    """The last axis filled up with a value."""
    array = np.asarray(array)
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])], constant_values=value)

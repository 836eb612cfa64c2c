"""Folds of one world, and its hidden parts, as arrays of one shape: they share compiled programs and place in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from transfer.data.interactions.events import Heldout, Interactions
from transfer.data.interactions.world import Loaded, World, on_device


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
    valid, test = _hidden([world.valid for world in worlds]), _hidden([world.test for world in worlds])
    rated: list[Any] = [world.rated for world in worlds]
    rated = rated if None in rated else _events(rated)
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
    if any(part.users.shape[0] > 1 for part in parts) or len(set(map(jax.tree.structure, parts))) > 1:
        return None
    return jax.tree.map(lambda *leaves: np.stack(leaves), *_hidden(parts))


def _hidden(parts: list[Heldout]) -> list[Heldout]:
    """Of as many chunks each, padded to the longest."""
    width = _longest(parts, lambda part: part.users)
    hidden, seen = _longest(parts, lambda part: part.row), _longest(parts, lambda part: part.seen_row)
    there = [name for name in ("disliked", "open") if getattr(parts[0], f"{name}_row") is not None]
    longest = {name: max(getattr(part, f"{name}_row").shape[-1] for part in parts) for name in there}

    def rows(part: Heldout, name: str, length: int) -> Any:
        row = np.asarray(getattr(part, name))
        return _lengthened(np.where(row == part.users.shape[1], width, row).astype(row.dtype), length, width)

    return [
        replace(
            part,
            users=_lengthened(part.users, width, 0),
            row=rows(part, "row", hidden),
            item=_lengthened(part.item, hidden, 0),
            rating=_lengthened(part.rating, hidden, 0),
            seen_row=rows(part, "seen_row", seen),
            seen_item=_lengthened(part.seen_item, seen, 0),
            seen_liked=_lengthened(part.seen_liked, seen, False),
            **{f"{name}_row": rows(part, f"{name}_row", longest[name]) for name in there},
            **{f"{name}_item": _lengthened(getattr(part, f"{name}_item"), longest[name], 0) for name in there},
        )
        for part in parts
    ]


def _bridges(world: World) -> Any:
    return world.bridges


def _longest(parts: list[Any], array: Callable[[Any], Any]) -> int:
    return max(array(part).shape[-1] for part in parts)


def _lengthened(array: Any, length: int, value: float) -> Any:
    """The last axis filled up with a value."""
    array = np.asarray(array)
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])], constant_values=value)

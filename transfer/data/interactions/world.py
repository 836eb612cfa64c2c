"""The world: one target and its sources on one index space, split, as arrays that a compiled program takes as argument."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from transfer.config.features import TEXT
from transfer.data.interactions.events import Heldout, Interactions
from transfer.data.interactions.sequences import Sequences


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Side:
    """One domain: `train` is all that is visible; `fit` and `stop` divide it for stages that learn this domain alone.

    `features` float32 [items, width] holds the vectors of each block of the items, by its name, in one space for all
    domains; zeros for an item without the block. `sequence` has the events in the order of time, where the split is one in
    time: those of `train`, of a source those of `fit`.
    `target_items` int32 [items], of a source that shares items with the target, says which each is there (-1: none).
    """

    train: Interactions
    fit: Interactions
    stop: Heldout
    features: dict[str, jax.Array] = field(default_factory=dict)
    sequence: Sequences | None = None
    target_items: jax.Array | None = None

    @property
    def text(self) -> jax.Array | None:
        """The block of the items' texts, if there is one."""
        return self.features.get(TEXT)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class World:
    """One target, its sources, the hidden parts of the target; ratings of all domains are on the target's scale.

    `merged` has the events of all domains in the order of time, the target's items first, where the split is one in time.
    `inference`, where people come after training, is this world with their histories: scores are asked of it, nothing is
    learnt from it. `initial` holds the parameters of another run that stages start from, where one is named. `rated` are
    target items that users have rated without liking them: nothing is learnt from them, and they are no candidates.
    `bridges` int32 [m] are the users with training events in the target and in a source; n_users behind them is padding.
    """

    target: Side
    sources: tuple[Side, ...]
    valid: Heldout
    test: Heldout
    scale: tuple[float, float] = field(metadata={"static": True})
    merged: Sequences | None = None
    inference: World | None = None
    initial: Any = None
    rated: Interactions | None = None
    bridges: jax.Array | None = None

    @property
    def n_users(self) -> int:
        return self.target.train.n_users

    @property
    def n_items(self) -> int:
        return self.target.train.n_items


def at_inference(world: Any) -> Any:
    """The world that scores are asked of: with the histories of those who come after training, if there are any."""
    return getattr(world, "inference", None) or world


def asked_users(world: World, hidden: Heldout) -> dict[str, np.ndarray]:
    """Who the rows of a hidden part are: user, history (known events in the target), events (hidden), int32 [users]."""
    part, starts = hidden, np.asarray(at_inference(world).target.train.starts)
    width = part.users.shape[1]
    users = np.asarray(part.users).reshape(-1)[: part.n_users]
    row = np.asarray(part.row)
    place = (np.arange(len(row))[:, None] * width + row)[row < width]
    events = np.bincount(place, minlength=part.n_users)
    columns = {"user": users, "history": starts[users + 1] - starts[users], "events": events}
    return {name: column.astype(np.int32) for name, column in columns.items()}


def fingerprint(world: World) -> str:
    """A hash of the arrays of a world: equal worlds, equal figures."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(world):
        if not leaf.ndim:  # a count of what the arrays hold
            continue
        digest.update(str(leaf.shape).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def names_hash(ids: list[list[str]], titles: list[dict[str, str]]) -> str:
    """A hash of what people read of a world, ids and titles: no figure depends on it, and a fresh result shows it."""
    return hashlib.sha256(json.dumps([ids, titles], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Loaded:
    """A world with what people need to read it: ids by index, titles by id, counts, and the fingerprint of its data.

    `protocol` says what the data decided of how figures come to be.
    """

    world: World
    users: list[str]
    items: list[str]
    titles: dict[str, str]
    source_items: list[list[str]]
    source_titles: list[dict[str, str]]
    summary: dict[str, Any]
    fingerprint: str
    protocol: dict[str, Any] = field(default_factory=dict)


def on_device(host: World) -> World:
    """The world on the device, with its catalogue there once, whose texts are the block that they are."""
    world, shelf = jax.device_put(host), host.test.catalogue
    if shelf is None:
        return world
    blocks = [name for name, rows in host.target.features.items() if rows is shelf.texts]
    put: Any = world.test.catalogue
    put = replace(put, texts=world.target.features[blocks[0]]) if blocks else put
    return replace(world, **{name: replace(getattr(world, name), catalogue=put) for name in ("valid", "test")})

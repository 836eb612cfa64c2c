"""What users chose, in the order of time: the input of next-item models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from transfer.data.interactions.domain import places


class Packing(NamedTuple):
    """What a batch of `size` windows of `length` takes, where the first `predicted` items are predicted.

    rows · width steps that are read (rows 0: a row for every window), and the events that are predicted.
    """

    predicted: int
    size: int
    length: int
    rows: int
    width: int
    events: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sequences:
    """Events sorted by (user, time, item): items, days int32 [n]; those of user u stand at starts[u]:starts[u + 1].

    Events of one day stand in no order: none of them may predict another. `learners` int32 [m] are the users with events
    on two days or more: from the others there is nothing to learn. `packings`: what batches of windows take, where known.
    `frequency` float32 [n_items], where a model asks for it: how often windows predict each item, up to a factor.
    """

    items: jax.Array
    days: jax.Array
    starts: jax.Array
    learners: jax.Array
    n_items: int = field(metadata={"static": True})
    frequency: jax.Array | None = None
    packings: tuple[Packing, ...] = field(default=(), metadata={"static": True})


def sequences(events: pl.DataFrame, users: pl.Series, items: pl.Series) -> Sequences:
    """The sequences of events (user, item, time); `days` numbers the distinct times."""
    user, item = places(events["user"], users), places(events["item"], items)
    return sorted_by_time(user, item, events["time"].to_numpy(), len(users), len(items))


def sorted_by_time(user: np.ndarray, item: np.ndarray, time: np.ndarray, n_users: int, n_items: int) -> Sequences:
    """Sequences from event arrays [n] in any order."""
    order = np.lexsort((item, time, user))
    user, item = user[order], item[order]
    days = np.unique(time[order], return_inverse=True)[1].astype(np.int32)
    starts = np.searchsorted(user, np.arange(n_users + 1)).astype(np.int32)
    later = np.zeros(len(user), bool)
    later[1:] = (user[1:] == user[:-1]) & (days[1:] > days[:-1])
    return Sequences(item, days, starts, np.unique(user[later]), n_items)  # type: ignore[arg-type]


def merged(events: list[pl.DataFrame], users: pl.Series, items: list[pl.Series]) -> Sequences:
    """The sequences of all domains together; the items of domain i follow those of the domains before it."""
    offsets = np.cumsum([0, *map(len, items)])
    user = np.concatenate([places(part["user"], users) for part in events])
    own = [places(part["item"], of) for part, of in zip(events, items, strict=True)]
    item = np.concatenate([place + offset for place, offset in zip(own, offsets, strict=False)]).astype(np.int32)
    time = np.concatenate([part["time"].to_numpy() for part in events])
    return sorted_by_time(user, item, time, len(users), int(offsets[-1]))


def window(of: Sequences, users: jax.Array, ends: jax.Array, length: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The last `length` events of users [B] before position `ends` of their sequences: items, days, there [B, length].

    They start at the left; `there` is false for padding, whose item is 0.
    """
    first = jnp.maximum(ends - length, 0)
    place = first[:, None] + jnp.arange(length)[None, :]
    there = place < ends[:, None]
    at = jnp.minimum(of.starts[users][:, None] + place, of.items.shape[0] - 1)
    return jnp.where(there, of.items[at], 0), of.days[at], there

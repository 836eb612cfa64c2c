"""Events as arrays: those of a domain by user, and hidden ones in chunks of users that are scored at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import polars as pl

# A chunk of users is scored at once; this bounds its score matrix (users x items) to 16 MiB of float32.
CHUNK_SCORES = 2**22


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Interactions:
    """Events of one domain sorted by (user, item): users, items int32 [n], ratings float32 [n], starts int32 [users + 1].

    The events of user u stand at starts[u]:starts[u + 1]; `item_counts` float32 [items] counts those of each item, and
    `longest` bounds the number of events of any user.
    """

    users: jax.Array
    items: jax.Array
    ratings: jax.Array
    starts: jax.Array
    item_counts: jax.Array
    n_users: int = field(metadata={"static": True})
    n_items: int = field(metadata={"static": True})
    longest: int = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Heldout:
    """Hidden events in chunks of users: users [C, B]; hidden row, item, rating [C, E]; seen row, item [C, S].

    A row is the user's position in its chunk; B marks padding. `popularity` [items] counts the training events.
    """

    users: jax.Array
    row: jax.Array
    item: jax.Array
    rating: jax.Array
    seen_row: jax.Array
    seen_item: jax.Array
    popularity: jax.Array
    n_users: int = field(metadata={"static": True})
    n_events: int = field(metadata={"static": True})


Coded = dict[str, np.ndarray]


def coded_events(events: pl.DataFrame, users: pl.Series, items: pl.Series) -> Coded:
    """Events as index arrays, sorted by (user, item)."""
    user = users.search_sorted(events["user"]).to_numpy().astype(np.int32)
    item = items.search_sorted(events["item"]).to_numpy().astype(np.int32)
    order = np.lexsort((item, user))
    return {"user": user[order], "item": item[order], "rating": events["rating"].to_numpy()[order].astype(np.float32)}


def interactions_of(events: Coded, n_users: int, n_items: int) -> Interactions:
    starts = np.zeros(n_users + 1, np.int32)
    np.cumsum(np.bincount(events["user"], minlength=n_users), out=starts[1:])
    longest = 1 << int(np.diff(starts).max(initial=1) - 1).bit_length()  # a power of two, so that splits share programs
    arrays: dict[str, Any] = {"users": events["user"], "items": events["item"], "ratings": events["rating"]}
    arrays |= {"starts": starts, "item_counts": np.bincount(events["item"], minlength=n_items).astype(np.float32)}
    return Interactions(**arrays, n_users=n_users, n_items=n_items, longest=longest)


def heldout_of(hidden: Coded, seen: list[Coded], train: Coded, n_items: int) -> Heldout:
    """Lay hidden events out in equal chunks of users; every chunk is padded to the longest."""
    users = np.unique(hidden["user"])
    chunks = max(1, min(len(users), -(-len(users) * n_items // CHUNK_SCORES)))
    width = max(1, -(-len(users) // chunks))
    padded = np.zeros(chunks * width, np.int32)
    padded[: len(users)] = users
    row, item, rating = _chunked(hidden, users, chunks, width)
    known = {key: np.concatenate([part[key] for part in seen]) for key in ("user", "item", "rating")}
    of_users = np.isin(known["user"], users)
    seen_row, seen_item, _ = _chunked({key: value[of_users] for key, value in known.items()}, users, chunks, width)
    popularity = np.bincount(train["item"], minlength=n_items).astype(np.float32)
    arrays: dict[str, Any] = {
        "users": padded.reshape(chunks, width),
        **{"row": row, "item": item, "rating": rating, "seen_row": seen_row, "seen_item": seen_item},
        "popularity": popularity,
    }
    return Heldout(**arrays, n_users=len(users), n_events=len(hidden["user"]))


def _chunked(events: Coded, users: np.ndarray, chunks: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position = np.searchsorted(users, events["user"])
    order = np.argsort(position, kind="stable")
    chunk, row = np.divmod(position[order], width)
    counts = np.bincount(chunk, minlength=chunks)
    slot = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (chunks, max(1, int(counts.max(initial=0))))
    rows, items, ratings = np.full(shape, width, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    rows[chunk, slot] = row
    items[chunk, slot] = events["item"][order]
    ratings[chunk, slot] = events["rating"][order]
    return rows, items, ratings

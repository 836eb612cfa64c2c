"""Events as arrays: those of a domain by user, and hidden ones in chunks of users that are scored at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from transfer.data.interactions.domain import places
from transfer.errors import TransferError

# A chunk of users is scored at once; this bounds its score matrix (users x items) to 16 MiB of float32.
CHUNK_SCORES = 2**22


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Interactions:
    """Events of one domain sorted by (user, item): users, items int32 [n], ratings float32 [n], starts int32 [users + 1].

    The events of user u stand at starts[u]:starts[u + 1]; `item_counts` float32 [items] counts those of each item, and
    `longest` bounds the number of events of any user. What stands beyond starts[-1] is padding: a user and an item beyond
    the last, which sums over segments and scatters drop, and a rating of 0.
    """

    users: jax.Array
    items: jax.Array
    ratings: jax.Array
    starts: jax.Array
    item_counts: jax.Array
    n_users: int = field(metadata={"static": True})
    n_items: int = field(metadata={"static": True})
    longest: int = field(metadata={"static": True})

    @property
    def there(self) -> jax.Array:
        """Which are events and not padding, bool [n]."""
        return self.users < self.n_users

    @property
    def mean_rating(self) -> jax.Array:
        return jnp.sum(self.ratings) / self.starts[-1].astype(jnp.float32)

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """Places of `count` events drawn with replacement, int32 [count]."""
        return jax.random.randint(key, (count,), 0, self.starts[-1])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Catalogue:
    """What is known of the target's items that lists are measured by and nothing is learnt from; None: of no item.

    readers: int32 scalar, users with training events. genres float32 [items, genres]: shares of an item's genres, zeros
    where none is known. texts float32 [items, width]: vectors of length 1, zeros where there is no text. price float32
    [items]: 0 where it is unknown (a price of 0 counts as unknown).
    """

    readers: jax.Array
    genres: jax.Array | None = None
    texts: jax.Array | None = None
    price: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Heldout:
    """Hidden events in chunks of users: users [C, B]; hidden row, item, rating [C, E]; seen row, item [C, S].

    A row is the user's position in its chunk; B marks padding. `popularity` [items] counts the training events; n_users and
    n_events, int32 scalars, count without padding. `candidates` bool [items] are those that are ranked (None: all).
    `seen_liked` bool [C, S]: which of the seen are chosen, and not rated without being liked. `disliked_row`,
    `disliked_item` [C, D]: hidden events that say that an item is disliked (None: no event can say so). `open_row`,
    `open_item` [C, L]: the candidates of each user, where a file lists them.
    """

    users: jax.Array
    row: jax.Array
    item: jax.Array
    rating: jax.Array
    seen_row: jax.Array
    seen_item: jax.Array
    popularity: jax.Array
    n_users: jax.Array
    n_events: jax.Array
    seen_liked: jax.Array
    candidates: jax.Array | None = None
    disliked_row: jax.Array | None = None
    disliked_item: jax.Array | None = None
    catalogue: Catalogue | None = None
    open_row: jax.Array | None = None
    open_item: jax.Array | None = None

    def by_chunk(self) -> Heldout:
        """What has a row for every chunk, and nothing else: what a scan goes through."""
        whole = dict.fromkeys(("candidates", "catalogue", "popularity", "n_users", "n_events"))
        return replace(self, **whole)  # type: ignore[arg-type]


Coded = dict[str, np.ndarray]


class Room(NamedTuple):
    """What arrays have room for, so that worlds of other sizes have the same shapes: events of a part, and users."""

    events: int
    users: int


def coded_events(events: pl.DataFrame, users: pl.Series, items: pl.Series) -> Coded:
    """Events as index arrays, sorted by (user, item)."""
    user, item = places(events["user"], users), places(events["item"], items)
    order = np.argsort(user.astype(np.int64) * len(items) + item)
    return {"user": user[order], "item": item[order], "rating": events["rating"].to_numpy()[order].astype(np.float32)}


def interactions_of(events: Coded, n_users: int, n_items: int, room: Room | None = None) -> Interactions:
    """Events by user; with `room` padded to as many events. Raises TransferError where there are more."""
    starts = np.zeros(n_users + 1, np.int32)
    np.cumsum(np.bincount(events["user"], minlength=n_users), out=starts[1:])
    longest = 1 << int(np.diff(starts).max(initial=1) - 1).bit_length()  # a power of two, so that splits share programs
    arrays: dict[str, Any] = {"users": events["user"], "items": events["item"], "ratings": events["rating"]}
    if room:
        longest = 1 << (n_items - 1).bit_length()
        beyond = {"users": n_users, "items": n_items, "ratings": 0}
        length = _length(len(events["user"]), room)
        arrays = {name: _padded(array, length, beyond[name]) for name, array in arrays.items()}
    arrays |= {"starts": starts, "item_counts": np.bincount(events["item"], minlength=n_items).astype(np.float32)}
    return Interactions(**arrays, n_users=n_users, n_items=n_items, longest=longest)


def _length(count: int, room: Room | None) -> int:
    """How long an array of this many events is."""
    if room and count > room.events:
        raise TransferError(f"domain.capacity={room.events}: a part has {count:,} events; write so many or more, or null")
    return room.events if room else count


def _padded(array: np.ndarray, length: int, value: float) -> np.ndarray:
    return np.concatenate([array, np.full(length - len(array), value, array.dtype)])


def heldout_of(
    hidden: Coded,
    seen: list[Coded],
    train: Coded,
    n_items: int,
    room: Room | None = None,
    candidates: np.ndarray | None = None,
    rated: Sequence[Coded] = (),
    disliked: Coded | None = None,
    catalogue: Catalogue | None = None,
    listed: Coded | None = None,
) -> Heldout:
    """Lay hidden events out in equal chunks of users; every chunk is padded to the longest, or to `room`.

    rated: events that are seen without being liked; disliked: hidden ones that say so; candidates bool [items]:
    the only ones that are ranked; listed: those of each user, as events.
    """
    users = np.unique(hidden["user"])
    chunks, width = chunks_of(room.users if room else len(users), n_items)
    padded = np.zeros(chunks * width, np.int32)
    padded[: len(users)] = users

    def laid_out(events: Coded, whole: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        of_users = np.isin(events["user"], users)
        return _chunked({key: value[of_users] for key, value in events.items()}, users, chunks, width, room, whole)

    row, item, rating = _chunked(hidden, users, chunks, width, room)
    known = {key: np.concatenate([part[key] for part in (*seen, *rated)]) for key in ("user", "item")}
    liked = np.arange(len(known["user"])) < sum(len(part["user"]) for part in seen)
    seen_row, seen_item, seen_liked = laid_out({**known, "rating": liked.astype(np.float32)})
    popularity = np.bincount(train["item"], minlength=n_items).astype(np.float32)
    arrays: dict[str, Any] = {
        "users": padded.reshape(chunks, width),
        **{"row": row, "item": item, "rating": rating, "seen_row": seen_row, "seen_item": seen_item},
        **{"seen_liked": seen_liked > 0, "popularity": popularity},
    }
    if disliked is not None:
        arrays["disliked_row"], arrays["disliked_item"], _ = laid_out(disliked, whole=True)
    if listed is not None:
        arrays["open_row"], arrays["open_item"], _ = laid_out(listed, whole=True)
    counts: dict[str, Any] = {"n_users": np.int32(len(users)), "n_events": np.int32(len(hidden["user"]))}
    return Heldout(**arrays, **counts, candidates=candidates, catalogue=catalogue)  # type: ignore[arg-type]


def chunks_of(count: int, n_items: int) -> tuple[int, int]:
    """How many equal chunks so many users are laid out in, and how many users are in each."""
    chunks = max(1, min(count, -(-count * n_items // CHUNK_SCORES)))
    return chunks, max(1, -(-count // chunks))


def in_chunks(position: np.ndarray, chunks: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Chunk, row and slot of events of the users at these positions, which rise; and how many the fullest chunk has."""
    chunk, row = np.divmod(position, width)
    counts = np.bincount(chunk, minlength=chunks)
    slot = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
    return chunk, row, slot, int(counts.max(initial=0))


def _chunked(
    events: Coded, users: np.ndarray, chunks: int, width: int, room: Room | None, whole: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, item and rating of events in their chunks; whole: padded to a power of two, so that splits share programs."""
    position = np.searchsorted(users, events["user"])
    order = np.argsort(position, kind="stable")
    chunk, row, slot, longest = in_chunks(position[order], chunks, width)
    longest = max(1, _length(longest, room))
    shape = (chunks, 1 << (longest - 1).bit_length() if whole and not room else longest)
    rows, items, ratings = np.full(shape, width, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    rows[chunk, slot] = row
    items[chunk, slot] = events["item"][order]
    ratings[chunk, slot] = events["rating"][order]
    return rows, items, ratings

"""Interactions as a sparse users x items matrix X: its rows, its products and its dense form, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from transfer.data.interactions.events import Interactions
from transfer.errors import TransferError
from transfer.storage.memory import GIB, host_memory

# Closed forms that need a dense matrix refuse to build one beyond this many float32 cells (4 GiB).
DENSE_CELLS = 2**30
BLOCK_CELLS = 2**22  # of rows that are dense at once


def fits(rows: int, columns: int) -> bool:
    """Whether a dense rows x columns matrix is one that closed forms build."""
    return rows * columns <= DENSE_CELLS


def check_dense(rows: int, columns: int, what: str) -> None:
    """Raise TransferError where a dense rows x columns matrix would not fit: before anything is compiled."""
    size, free = rows * columns * 4, host_memory()
    if not fits(rows, columns) or (size > free.size and jax.default_backend() == "cpu"):
        raise TransferError(
            f"{what} needs a {rows:,} x {columns:,} matrix ({size / GIB:.1f} GiB): {free.size / GIB:.1f} GiB {free.bound} "
            f"are free, and {DENSE_CELLS * 4 // GIB} GiB is the most; keep fewer users and items with domain.core=5 or "
            "more, or use method=target_only, cmf, finetune or emcdr"
        )


def blocks(n_users: int, width: int) -> jax.Array:
    """All users, int32 [blocks, B], so many at once that B rows of `width` are small; n_users, who has no events, at the
    end."""
    size = min(max(BLOCK_CELLS // width, 1), n_users)
    return jnp.minimum(jnp.arange(-(-n_users // size) * size), n_users).reshape(-1, size)


def rows(events: Interactions, values: jax.Array, users: jax.Array) -> jax.Array:
    """The rows of X for users [B], with the given value per event [n] -> [B, items]; zero for the user n_users."""
    start, degree = events.starts[users][:, None], (events.starts[users + 1] - events.starts[users])[:, None]
    offset = jnp.arange(events.longest)[None, :]
    event = jnp.minimum(start + offset, values.shape[0] - 1)
    column = jnp.where(offset < degree, events.items[event], events.n_items)
    row = jnp.broadcast_to(jnp.arange(users.shape[0])[:, None], column.shape)
    return jnp.zeros((users.shape[0], events.n_items)).at[row, column].add(values[event], mode="drop")


def events_of(events: Interactions, users: jax.Array, nth: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """The events of users [B], one after another: whose each is, its place among `users` (B: padding), and which, int32.

    nth: of these events, 0 for the first; None: all.
    """
    starts, count = events.starts[users], users.shape[0]
    ends = jnp.cumsum(events.starts[users + 1] - starts)
    nth = jnp.arange(min(count * events.longest, events.users.shape[0])) if nth is None else nth
    own = jnp.searchsorted(ends, nth, side="right").astype(jnp.int32)
    before = jnp.concatenate([jnp.zeros(1, ends.dtype), ends])
    return own, jnp.append(starts, 0)[own] + nth - before[own]


def dense(events: Interactions, values: jax.Array) -> jax.Array:
    """X itself [users, items]; ask `check_dense` first."""
    return jnp.zeros((events.n_users, events.n_items)).at[events.users, events.items].add(values)


def times(left: jax.Array, events: Interactions, values: jax.Array) -> jax.Array:
    """left [B, users] times X -> [B, items], without a dense X."""
    return jax.ops.segment_sum(left.T[events.users] * values[:, None], events.items, events.n_items).T


def joined(domains: Sequence[Interactions]) -> Interactions:
    """The events of several domains as those of one, whose items stand side by side."""
    first = [sum(events.n_items for events in domains[:i]) for i in range(len(domains))]
    last = sum(events.n_items for events in domains)
    items = [jnp.where(events.there, events.items + i, last) for events, i in zip(domains, first, strict=True)]
    order = _order(domains)
    return Interactions(
        users=jnp.concatenate([events.users for events in domains])[order],
        items=jnp.concatenate(items)[order],
        ratings=jnp.concatenate([events.ratings for events in domains])[order],
        starts=sum((events.starts for events in domains), jnp.zeros_like(domains[0].starts)),
        item_counts=jnp.concatenate([events.item_counts for events in domains]),
        n_users=domains[0].n_users,
        n_items=last,
        longest=sum(events.longest for events in domains),
    )


def mean_rows(events: Interactions, table: jax.Array) -> jax.Array:
    """The mean of a table's rows [items, d] over each user's items -> [users, d]; 0 for who has none."""
    sums = jax.ops.segment_sum(table[events.items], events.users, events.n_users, indices_are_sorted=True)
    return sums / jnp.maximum(user_counts(events), 1).astype(sums.dtype)[:, None]


def joined_values(domains: Sequence[Interactions], values: Sequence[jax.Array]) -> jax.Array:
    """Of every event of the domains one value, in the order in which `joined` has them."""
    return jnp.concatenate(values)[_order(domains)]


def _order(domains: Sequence[Interactions]) -> jax.Array:
    """By user; padding stays last."""
    return jnp.argsort(jnp.concatenate([events.users for events in domains]), stable=True)


def domains_of(widths: Sequence[int]) -> np.ndarray:
    """Which domain each item is of, where so many of each stand side by side: int32 [items]."""
    return np.repeat(np.arange(len(widths), dtype=np.int32), widths)


def user_counts(events: Interactions) -> jax.Array:
    """Events per user, float32 [users]."""
    return jnp.diff(events.starts).astype(jnp.float32)


def item_weights(events: Interactions, power: jax.Array | float, widths: Sequence[int] | None = None) -> jax.Array:
    """g_i of every event [n]: ln(users / those who have the item)^power, of mean square 1 in every domain; 0 for padding.

    power 0: 1 for every event; 1: inverse document frequency, what few have says more (Spärck Jones 1972). widths: how many
    items of each domain stand side by side; None: there is one.
    """
    domain = jnp.asarray(domains_of(widths or [events.n_items]))
    count = len(widths or [0])
    rare = jnp.log(events.n_users / jnp.maximum(events.item_counts, 1.0)) ** power
    squares = jax.ops.segment_sum(events.item_counts * rare**2, domain, count)
    mean = squares / jnp.maximum(jax.ops.segment_sum(events.item_counts, domain, count), 1.0)
    return (rare / jnp.sqrt(jnp.where(mean > 0, mean, 1.0))[domain]).at[events.items].get(mode="fill", fill_value=0.0)

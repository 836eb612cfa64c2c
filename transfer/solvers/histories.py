"""Interactions as a sparse users x items matrix X: its rows, its products and its dense form, on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Interactions
from transfer.errors import TransferError
from transfer.solvers.memory import GIB, host_memory

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


def dense(events: Interactions, values: jax.Array) -> jax.Array:
    """X itself [users, items]; ask `check_dense` first."""
    return jnp.zeros((events.n_users, events.n_items)).at[events.users, events.items].add(values)


def times(left: jax.Array, events: Interactions, values: jax.Array) -> jax.Array:
    """left [B, users] times X -> [B, items], without a dense X."""
    return jax.ops.segment_sum(left.T[events.users] * values[:, None], events.items, events.n_items).T


def times_transposed(left: jax.Array, events: Interactions, values: jax.Array) -> jax.Array:
    """left [B, items] times Xᵀ -> [B, users], without a dense X."""
    weighted = left.T[events.items] * values[:, None]
    return jax.ops.segment_sum(weighted, events.users, events.n_users, indices_are_sorted=True).T


def user_counts(events: Interactions) -> jax.Array:
    """Events per user, float32 [users]."""
    return jnp.diff(events.starts).astype(jnp.float32)

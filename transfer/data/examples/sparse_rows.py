"""Rows that are mostly zeros, such as counts of words, entry by entry: a layer on them costs what is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SparseBatch:
    """A matrix [size, width] by its entries in the order of rows: row, column int32 [m], value float32 [m].

    Padding has the value 0.
    """

    row: jax.Array
    column: jax.Array
    value: jax.Array
    size: int = field(metadata={"static": True})
    width: int = field(metadata={"static": True})

    def __matmul__(self, kernel: jax.Array) -> jax.Array:
        """The product with a kernel [width, d]: float32 [size, d]."""
        products = self.value[:, None] * kernel[self.column]
        return jax.ops.segment_sum(products, self.row, self.size, indices_are_sorted=True)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SparseRows:
    """A matrix [n, width]: the entries of row i, column int32 and value float32, stand at starts[i]:starts[i + 1].

    room: entries of a batch of `size` at most; what finds no place is left out.
    """

    column: jax.Array
    value: jax.Array
    starts: jax.Array
    width: int = field(metadata={"static": True})
    size: int = field(metadata={"static": True})
    room: int = field(metadata={"static": True})

    def __getitem__(self, rows: jax.Array) -> SparseBatch:
        assert rows.shape[0] <= self.size
        first = self.starts[rows]
        ends = jnp.cumsum(self.starts[rows + 1] - first)
        slots = jnp.arange(self.room)
        row = jnp.cumsum(jnp.zeros(self.room, jnp.int32).at[ends[:-1]].add(1, mode="drop"))
        begins = jnp.concatenate([jnp.zeros(1, jnp.int32), ends[:-1]])
        at = jnp.minimum(first[row] + slots - begins[row], self.column.shape[0] - 1)
        value = jnp.where(slots < ends[-1], self.value[at], 0.0)
        return SparseBatch(row, self.column[at], value, rows.shape[0], self.width)


def sparse_rows(x: Any, size: int, room: int) -> SparseRows:
    """The entries of a matrix; their arrays have the length of a power of two, so that most draws make one program."""
    x = np.asarray(x)
    row, column = np.nonzero(x)
    padding = (1 << max(len(row) - 1, 0).bit_length()) - len(row)
    starts = np.searchsorted(row, np.arange(len(x) + 1)).astype(np.int32)
    columns, values = np.pad(column.astype(np.int32), (0, padding)), np.pad(x[row, column], (0, padding))
    columns, values, starts = jax.device_put((columns, values, starts))
    return SparseRows(columns, values, starts, x.shape[1], size, room)

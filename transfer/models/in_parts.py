"""Deep networks take many examples a part at a time: what lies between their layers must fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def in_parts(function: Callable[[jax.Array], jax.Array], x: jax.Array, size: int) -> jax.Array:
    """function(x) for x [n, ...], at most `size` rows at once, one part after the other."""
    n = x.shape[0]
    if n <= size:
        return function(x)
    count = -(-n // size)
    rows = -(-n // count)
    padded = jnp.concatenate([x, jnp.zeros((count * rows - n, *x.shape[1:]), x.dtype)])
    z = jax.lax.map(function, padded.reshape(count, rows, *x.shape[1:]))
    return z.reshape(count * rows, *z.shape[2:])[:n]

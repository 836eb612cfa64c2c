"""Perceptrons on pairs of a user and an item, s = v · h_L, h_l = relu(W_l h_{l-1} + b_l), h_0 = [z ; y].

z is float32 [B, d], y [B, K, d], or [1, K, d] for the same items for all: the first layer is a sum of what it makes of
either, so that a user and an item are multiplied with W once and not for every pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp

from transfer.program import Params, stream


def init(key: jax.Array, dim: int, hidden: Sequence[int]) -> Params:
    """{"layers": [{"weight" [in, out], "bias" [out]}], "out" [last, 1]}, so drawn that relu keeps the variance."""
    widths = [2 * dim, *hidden]
    layers = [
        {"weight": (2 / a) ** 0.5 * jax.random.normal(stream(key, "layer", i), (a, b)), "bias": jnp.zeros(b)}
        for i, (a, b) in enumerate(pairwise(widths))
    ]
    return {"layers": layers, "out": widths[-1] ** -0.5 * jax.random.normal(stream(key, "out"), (widths[-1], 1))}


def of_pairs(weight: jax.Array, z: jax.Array, y: jax.Array) -> jax.Array:
    """[z ; y] W of pairs -> [B, K, out]; of z [B, d] and y [B, K, d] or [1, K, d]."""
    dim = z.shape[1]
    return (z @ weight[:dim])[:, None, :] + y @ weight[dim:]


def apply(tower: Params, z: jax.Array, y: jax.Array) -> jax.Array:
    """Scores of pairs -> [B, K]."""
    first, *others = tower["layers"]
    h = jax.nn.relu(of_pairs(first["weight"], z, y) + first["bias"][None, None])
    for layer in others:
        h = jax.nn.relu(h @ layer["weight"] + layer["bias"][None, None])
    return jnp.squeeze(h @ tower["out"], axis=2)

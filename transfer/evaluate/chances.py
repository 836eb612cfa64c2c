"""Events that somebody has chosen, or not, and the chance of it: what is asked, and scores as chances."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Heldout

STEPS = 25  # of Newton's method
RIDGE = 1e-4  # on both numbers, in units of standardised scores: without it a perfect scorer has no finite slope


class Asked(NamedTuple):
    """Events in chunks, float32 or int32 [C, N]: score, chosen (1 or 0), weight (0: padding), row of the user's chunk."""

    score: jax.Array
    chosen: jax.Array
    weight: jax.Array
    row: jax.Array


def asked(scores: Callable[[jax.Array], jax.Array], part: Heldout, sampled: int) -> Asked:
    """The hidden events of a part, and what was not chosen: `sampled` uniform candidates for each, else the dislikes.

    Candidates are drawn by the place of an event alone, so that all methods are asked the same.
    """

    def chunk(place: jax.Array, of: Heldout) -> tuple[jax.Array, Asked]:
        table, width = scores(of.users), of.users.shape[0]
        if sampled:
            shape = (len(of.row), sampled)
            drawn = jax.random.randint(jax.random.fold_in(jax.random.key(0), place), shape, 0, table.shape[1])
            known = jnp.zeros(table.shape, bool).at[of.row, of.item].set(True, mode="drop")
            known = known.at[of.seen_row, of.seen_item].set(True, mode="drop")
            if part.candidates is not None:
                known |= ~part.candidates[None, :]
            other_row, other = jnp.repeat(of.row, sampled), drawn.reshape(-1)
            free = ~known[jnp.minimum(other_row, width - 1), other]
        else:
            assert of.disliked_row is not None
            assert of.disliked_item is not None
            other_row, other = of.disliked_row, of.disliked_item
            free = jnp.ones(other.shape, bool)
        row, item = jnp.concatenate([of.row, other_row]), jnp.concatenate([of.item, other])
        there = (row < width) & jnp.concatenate([jnp.ones(of.row.shape, bool), free])
        chosen = (jnp.arange(len(row)) < len(of.row)).astype(jnp.float32)
        value = table[jnp.minimum(row, width - 1), item]
        return place + 1, Asked(value, chosen, there.astype(jnp.float32), jnp.where(there, row, width))

    return jax.lax.scan(chunk, jnp.int32(0), part.by_chunk())[1]


def logistic(score: jax.Array, chosen: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Slope a >= 0 and intercept b of P(chosen) = sigmoid(a score + b), by Newton's method on log loss [n] (Platt 1999).

    A method whose scores stand in the wrong order gets a = 0: the chance is then the share that is chosen.
    """
    total = jnp.maximum(jnp.sum(weight), 1.0)
    mean = jnp.sum(weight * score) / total
    scale = jnp.sqrt(jnp.sum(weight * jnp.square(score - mean)) / total) + 1e-9
    x = jnp.stack([(score - mean) / scale, jnp.ones_like(score)])  # [2, n]

    def step(_: int, numbers: jax.Array) -> jax.Array:
        p = jax.nn.sigmoid(numbers @ x)
        slope = x @ (weight * (p - chosen)) / total + RIDGE * numbers
        curve = (x * (weight * p * (1 - p))[None, :]) @ x.T / total + RIDGE * jnp.eye(2)
        return numbers - jnp.clip(jnp.linalg.solve(curve, slope), -1.0, 1.0)

    a, b = jax.lax.fori_loop(0, STEPS, step, jnp.zeros(2))
    share = jnp.clip(jnp.sum(weight * chosen) / total, 1e-6, 1 - 1e-6)
    b = jnp.where(a > 0, b - a * mean / scale, jnp.log(share / (1 - share)))
    return jnp.maximum(a, 0.0) / scale, b

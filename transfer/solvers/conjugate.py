"""Conjugate gradients for many small systems at once, A_r x_r = b_r, that share the work of one sparse product."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

State = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # x, what is left of b, the direction, the square of what is left


def gradients(times: Callable[[jax.Array], jax.Array], right: jax.Array, start: jax.Array, steps: int) -> jax.Array:
    """Rows x [n, d] after so many steps from `start`; times(x) is A_r x_r of every row, each A_r positive definite.

    In exact arithmetic d steps solve. What is solved stays where it is. (Hestenes & Stiefel 1952)
    """

    def step(carry: State, _: None) -> tuple[State, None]:
        x, rest, direction, square = carry
        image = times(direction)
        length = _ratio(square, _dot(direction, image))
        x, rest = x + length * direction, rest - length * image
        after = _dot(rest, rest)
        return (x, rest, rest + _ratio(after, square) * direction, after), None

    rest = right - times(start)
    return jax.lax.scan(step, (start, rest, rest, _dot(rest, rest)), None, length=steps)[0][0]


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b, axis=1, keepdims=True)


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, 0 where b is 0: there nothing is left to solve."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)

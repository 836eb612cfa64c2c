"""Co-clusters of a partly known matrix X [n, m]: groups of rows, groups of columns, and B, what one gives the other."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.program import Params, stream

FACTORISE, REFINE, EXPAND = 300, 10, 20  # rounds
SHIFT = 0.5  # X + SHIFT, what is below zero cut off, is the non-negative matrix that is factorised
DAMPING = 1.0  # of the means in B, in known cells


def codebook(x: jax.Array, known: jax.Array, sizes: tuple[int, int], key: jax.Array) -> tuple[jax.Array, Params]:
    """Squared error, and {"pattern": B [k, l]}, of hard co-clusters of x, zero where it is not `known` (0 or 1).

    They begin with the orthogonal non-negative tri-factorisation X ≈ U B Vᵀ (Ding et al. 2006) of the filled matrix, and go
    on, on known cells alone, with every row and every column in turn to the cluster that fits it best.
    """
    u, v = factorise(jnp.maximum(x + SHIFT, 0.0), sizes, key)

    def turn(_: jax.Array, hard: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        u, v = hard
        pattern = means(x, known, u, v)
        u = _hard(-errors(x, known, pattern, v))
        return u, _hard(-errors(x.T, known.T, pattern.T, u))

    u, v = jax.lax.fori_loop(0, REFINE, turn, (_hard(u), _hard(v)))
    pattern = means(x, known, u, v)
    return jnp.sum(errors(x, known, pattern, v) * u), {"pattern": pattern}


def factorise(x: jax.Array, sizes: tuple[int, int], key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """U [n, k] and V [m, l] of min |X - U B Vᵀ|², UᵀU = I, VᵀV = I, all non-negative, by multiplicative updates."""
    shapes = {"u": (x.shape[0], sizes[0]), "b": sizes, "v": (x.shape[1], sizes[1])}
    start = {name: 0.1 + jax.random.uniform(stream(key, name), shape) for name, shape in shapes.items()}

    def update(_: jax.Array, at: Params) -> Params:
        u, b, v = at["u"], at["b"], at["v"]
        up = x @ v @ b.T
        u = u * jnp.sqrt(up / (u @ (u.T @ up) + 1e-9))
        up = x.T @ u @ b
        v = v * jnp.sqrt(up / (v @ (v.T @ up) + 1e-9))
        b = b * jnp.sqrt((u.T @ x @ v) / (u.T @ u @ b @ v.T @ v + 1e-9))
        return {"u": u, "b": b, "v": v}

    found = jax.lax.fori_loop(0, FACTORISE, update, start)
    return found["u"], found["v"]


def memberships(
    x: jax.Array, known: jax.Array, pattern: jax.Array, sharpness: jax.Array, key: jax.Array
) -> tuple[jax.Array, Params]:
    """Squared error, and soft memberships {"users": [n, k], "items": [m, l]} of rows and columns under a given pattern.

    In turns, the sharpness rising to its value: far from the end nobody is sure yet, which avoids poor local optima.
    """

    def turn(step: jax.Array, at: Params) -> Params:
        sharp = sharpness * jnp.minimum(2.0 * (step.astype(jnp.float32) + 1) / EXPAND, 1.0)
        users = jax.nn.softmax(-sharp * errors(x, known, pattern, at["items"]))
        return {"users": users, "items": jax.nn.softmax(-sharp * errors(x.T, known.T, pattern.T, users))}

    items = jax.nn.softmax(jax.random.normal(key, (x.shape[1], pattern.shape[1])))
    start = {"users": jnp.zeros((x.shape[0], pattern.shape[0])), "items": items}
    found = jax.lax.fori_loop(0, EXPAND, turn, start)
    return jnp.sum(errors(x, known, pattern, found["items"]) * found["users"]), found


def means(x: jax.Array, known: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """B = Uᵀ X V ⊘ (Uᵀ known V + DAMPING): the damped mean of every block [k, l]."""
    return (u.T @ x @ v) / (u.T @ known @ v + DAMPING)


def errors(x: jax.Array, known: jax.Array, pattern: jax.Array, v: jax.Array) -> jax.Array:
    """Expected squared error of the known cells of each row in each cluster of rows, with column memberships v: [n, k]."""
    square = jnp.sum(x * x, axis=1, keepdims=True)
    return square - 2 * x @ v @ pattern.T + known @ v @ jnp.square(pattern).T


def _hard(preference: jax.Array) -> jax.Array:
    """1 for the largest of every row."""
    return jax.nn.one_hot(jnp.argmax(preference, axis=1), preference.shape[1])

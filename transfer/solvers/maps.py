"""Maps from source features x to target features y, learnt on paired rows: y ≈ f(x). One contract for all of them.

linear      min_W |XW - Y|²                          least squares (Mikolov, Le, Sutskever 2013)
ridge       min_W |XW - Y|² + λ |W|²                 W = (XᵀX + λI)⁻¹ XᵀY (Hoerl & Kennard 1970)
procrustes  min_W |XW - Y|² with WᵀW = I             W = UVᵀ of XᵀY = UΣVᵀ, on centred rows (Schönemann 1966)
mlp         min_θ |f_θ(X) - Y|²                      by gradient, `transfer.solvers.perceptron`
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer.program import Params
from transfer.solvers import perceptron

Kind = Literal["linear", "ridge", "procrustes", "mlp"]


def solve(kind: Kind, x: jax.Array, y: jax.Array, weight: jax.Array, ridge: jax.Array) -> Params:
    """The closed form of a linear kind from rows x [n, p], y [n, q] with weights [n] (0: no pair) -> the map's parameters.

    Rows are centred by their weighted means, so that the offset is free of any penalty. `procrustes` of unequal widths
    gives orthonormal rows or columns, whichever fit.
    """
    total = jnp.maximum(jnp.sum(weight), 1.0)
    centre = {"x": weight @ x / total, "y": weight @ y / total}
    root = jnp.sqrt(weight)[:, None]
    a, b = (x - centre["x"][None, :]) * root, (y - centre["y"][None, :]) * root
    if kind == "procrustes":
        u, _, vt = jnp.linalg.svd(a.T @ b, full_matrices=False)
        return {**centre, "matrix": u @ vt}
    if kind == "linear":
        return {**centre, "matrix": jnp.linalg.lstsq(a, b)[0]}
    return {**centre, "matrix": jnp.linalg.solve(a.T @ a + ridge * jnp.eye(a.shape[1]), a.T @ b)}


def apply(kind: Kind, params: Params, x: jax.Array) -> jax.Array:
    """f(x) for rows x [B, p] -> [B, q]."""
    if kind == "mlp":
        return perceptron.apply(params, x)
    return (x - params["x"][None, :]) @ params["matrix"] + params["y"][None, :]

"""Classifiers on given features that have a closed form or a convex optimum: all of their seeds and strengths run at once.

softmax and svm are found by accelerated descent in the metric of their curvature bound (Böhning 1992; Nesterov 1983): one
factorisation, then products of matrices, no step size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve

from transfer.program import Params

KINDS = ("ridge", "softmax", "svm", "nn")
STEPS = 100
CONSTANT = 10.0  # the constant feature; the larger, the less the penalty holds the intercept


def fit(kind: str, z: jax.Array, y: jax.Array, weight: jax.Array, l2: jax.Array, multi_label: bool) -> Params:
    """Fit on z [n, d], y [n, classes] with importance `weight` [n].

    min Σ_i w_i loss(W z_i, y_i) / Σ w + l2/2 |W|². ridge: squared error to ±1; softmax: log loss (of each class with
    several labels); svm: squared hinge, each class against the rest. nn keeps the examples: 1-nearest neighbour.
    """
    if kind == "nn":
        return {"z": z, "y": y}
    weight = weight / jnp.sum(weight)
    mean = weight @ z
    x = _with_constant(z - mean[None, :])
    residual, curvature = _loss(kind, y, multi_label)
    n, d = x.shape
    root = jnp.sqrt(weight)[:, None]
    a = root * x  # curvature is bounded by `curvature` aᵀa
    dual = n < d
    gram = a @ a.T if dual else a.T @ a
    factor = cho_factor(curvature * gram + l2 * jnp.eye(gram.shape[0]), lower=True)

    def step(w: jax.Array) -> jax.Array:
        """w - (curvature aᵀa + l2)⁻¹ gradient; in the dual w holds the coefficients of the rows of a."""
        logits = (gram @ w if dual else a @ w) / jnp.maximum(root, 1e-12)
        g = root * residual(logits)
        return w - cho_solve(factor, (g if dual else a.T @ g) + l2 * w)

    w = step(jnp.zeros((gram.shape[0], y.shape[1])))  # already the optimum of ridge, whose curvature is its bound
    if kind != "ridge":

        def accelerated(state: Any, _: None) -> tuple[Any, None]:
            w, ahead, t = state
            new = step(ahead)
            restart = jnp.sum((ahead - new) * (new - w)) > 0
            t = jnp.where(restart, 1.0, t)
            after = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
            return (new, new + jnp.where(restart, 0.0, (t - 1) / after) * (new - w), after), None

        (w, _, _), _ = jax.lax.scan(accelerated, (w, w, jnp.float32(1.0)), None, length=STEPS)
    return {"mean": mean, "kernel": a.T @ w if dual else w}


def logits(params: Params, z: jax.Array) -> jax.Array:
    """[B, classes]: W z, or for 1-nearest neighbour minus the squared distance to the nearest example of a class."""
    if "kernel" in params:
        return _with_constant(z - params["mean"][None, :]) @ params["kernel"]
    distance = squared_distances(z, params["z"])
    far = jax.lax.stop_gradient(jnp.max(distance)) + 1

    def nearest(of_class: jax.Array) -> jax.Array:
        return -jnp.min(jnp.where(of_class[None, :] > 0, distance, far), axis=1)

    return jax.lax.map(nearest, params["y"].T).T


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """|x_i - y_j|² of x [n, d] and y [m, d] -> [n, m], at least 0."""
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :]
    return jnp.maximum(squares - 2 * x @ y.T, 0.0)


def _with_constant(x: jax.Array) -> jax.Array:
    return jnp.concatenate([x, jnp.full((x.shape[0], 1), CONSTANT)], axis=1)


def _loss(kind: str, y: jax.Array, multi_label: bool) -> tuple[Callable[[jax.Array], jax.Array], float]:
    """The derivative of the loss by the logits [n, classes], and a bound of its second derivative."""
    signs = 2 * y - 1
    if kind == "ridge":
        return (lambda f: f - signs), 1.0
    if kind == "svm":
        return (lambda f: -2 * signs * jnp.maximum(1 - signs * f, 0.0)), 2.0
    if multi_label:
        return (lambda f: jax.nn.sigmoid(f) - y), 0.25
    return (lambda f: jax.nn.softmax(f, axis=1) - y), 0.5

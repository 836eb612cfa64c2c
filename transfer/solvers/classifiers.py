"""Classifiers on given features that have a closed form or a convex optimum: all of their seeds and strengths run at once.

softmax and svm are found by accelerated descent in the metric of their curvature bound (Böhning 1992; Nesterov 1983): one
factorisation, then products of matrices, no step size; it ends where a step no longer moves them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve

from transfer.errors import TransferError
from transfer.program import Params

KINDS = ("ridge", "softmax", "svm", "svm_ovo", "nn")
STEPS = 100
STILL = 1e-6  # a step of this share of the coefficients is the last: float32 knows no smaller ones
CONSTANT = 10.0  # the constant feature; the larger, the less the penalty holds the intercept


def fit(
    kind: str, z: jax.Array, y: jax.Array, weight: jax.Array, l2: jax.Array, multi_label: bool, numeric: bool = False
) -> Params:
    """Fit on z [n, d], y [n, classes] with importance `weight` [n].

    min Σ_i w_i loss(W z_i, y_i) / Σ w + l2/2 |W|². ridge: squared error to ±1; softmax: log loss (of each class with
    several labels); svm: squared hinge, each class against the rest; svm_ovo: each class against each other one, which
    vote. nn keeps the examples: 1-nearest neighbour. numeric: y [n, 1] are numbers; ridge and svm are then squared error
    to y (squared ε-insensitive with ε = 0). Raises TransferError for svm_ovo with several labels per example, and for
    softmax and svm_ovo of numbers.
    """
    if numeric and kind in ("softmax", "svm_ovo"):
        raise TransferError(f"method.classifier={kind} is for classes; task=regression has ridge and nn")
    if kind == "nn":
        return {"z": z, "value" if numeric else "y": y}
    if numeric:
        kind, y = "ridge", (y + 1) / 2
    if kind == "svm_ovo" and multi_label:
        raise TransferError("method.classifier=svm_ovo is for one class per example; use svm")
    signs = y @ votes(y.shape[1]).T if kind == "svm_ovo" else 2 * y - 1
    weight = weight / jnp.sum(weight)
    mean = weight @ z
    x = _with_constant(z - mean[None, :])
    residual, start, curvature = _loss(kind, y, signs, multi_label)
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
        return w - cho_solve(factor, (g if dual else (g.T @ a).T) + l2 * w)  # so ordered, the product is quicker on CPUs

    # The step from zero, written out: from the softmax of a product with zeros, in a batch of replicas, XLA for CPUs was
    # seen to make NaN (jaxlib 0.10). It is already the optimum of ridge, whose curvature is its bound.
    w = -cho_solve(factor, root * start if dual else a.T @ (root * start))
    if kind != "ridge":

        def moves(state: Any) -> jax.Array:
            *_, moved, steps = state
            return (moved > STILL) & (steps < STEPS)

        def accelerated(state: Any) -> Any:
            w, ahead, t, _, steps = state
            new = step(ahead)
            moved = jnp.linalg.norm(new - ahead) / jnp.maximum(jnp.linalg.norm(new), 1e-30)
            restart = jnp.sum((ahead - new) * (new - w)) > 0
            t = jnp.where(restart, 1.0, t)
            after = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
            return new, new + jnp.where(restart, 0.0, (t - 1) / after) * (new - w), after, moved, steps + 1

        w, *_ = jax.lax.while_loop(moves, accelerated, (w, w, jnp.float32(1.0), jnp.float32(jnp.inf), jnp.int32(0)))
    fitted = {"mean": mean, "kernel": a.T @ w if dual else w}
    return fitted | ({"votes": votes(y.shape[1])} if kind == "svm_ovo" else {})


def logits(params: Params, z: jax.Array) -> jax.Array:
    """[B, classes]: W z; won minus lost duels, and by less than one of them the margins, for svm_ovo; for 1-nearest
    neighbour minus the squared distance to the nearest example of a class, of numbers that of the nearest example."""
    if "kernel" in params:
        margins = _with_constant(z - params["mean"][None, :]) @ params["kernel"]
        if "votes" not in params:
            return margins
        sums = margins @ params["votes"]
        return jnp.sign(margins) @ params["votes"] + sums / (1 + jnp.abs(sums))
    distance = squared_distances(z, params["z"])
    if "value" in params:
        return params["value"][jnp.argmin(distance, axis=1)]
    far = jax.lax.stop_gradient(jnp.max(distance)) + 1

    def nearest(of_class: jax.Array) -> jax.Array:
        return -jnp.min(jnp.where(of_class[None, :] > 0, distance, far), axis=1)

    return jax.lax.map(nearest, params["y"].T).T


def votes(classes: int) -> jax.Array:
    """float32 [pairs, classes]: 1 for the first class of a pair, -1 for the second."""
    first, second = jnp.triu_indices(classes, 1)
    return jax.nn.one_hot(first, classes) - jax.nn.one_hot(second, classes)


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """|x_i - y_j|² of x [n, d] and y [m, d] -> [n, m], at least 0."""
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :]
    return jnp.maximum(squares - 2 * x @ y.T, 0.0)


def _with_constant(x: jax.Array) -> jax.Array:
    return jnp.concatenate([x, jnp.full((x.shape[0], 1), CONSTANT)], axis=1)


def _loss(
    kind: str, y: jax.Array, signs: jax.Array, multi_label: bool
) -> tuple[Callable[[jax.Array], jax.Array], jax.Array, float]:
    """The derivative of the loss by the logits [n, classes], its value where these are 0, a bound of the second one."""
    if kind == "ridge":
        return (lambda f: f - signs), -signs, 1.0
    if kind in ("svm", "svm_ovo"):  # a sign of 0: the example is of neither class
        return (lambda f: -2 * signs * jnp.maximum(1 - signs * f, 0.0)), -2 * signs, 2.0
    if multi_label:
        return (lambda f: jax.nn.sigmoid(f) - y), 0.5 - y, 0.25
    return (lambda f: jax.nn.softmax(f, axis=1) - y), 1 / y.shape[1] - y, 0.5

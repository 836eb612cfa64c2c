"""Ratios of densities, w(x_i) ≈ p_target(x_i) / p_source(x_i), from examples of both: x [n, d], target [m, d] -> [n]."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from transfer.program import Hp
from transfer.solvers import classifiers
from transfer.solvers.kernels import median_of_some

CENTRES, STEPS = 200, 200


def discriminator(x: jax.Array, target: jax.Array, hp: Hp) -> jax.Array:
    """w(x_i) of the source examples x [n, d] by a logistic regression that tells them from the target's [m, d]."""
    n, m = x.shape[0], target.shape[0]
    y = jnp.concatenate([jnp.zeros(n), jnp.ones(m)])[:, None]
    both = jnp.concatenate([x, target])
    fitted = classifiers.fit("softmax", both, y, jnp.ones(n + m), hp["ratio_l2"], multi_label=True)
    return n / m * jnp.exp(jnp.clip(classifiers.logits(fitted, x)[:, 0], -20.0, 20.0))


def kliep(x: jax.Array, target: jax.Array, hp: Hp) -> jax.Array:
    """w(x_i) by multiplicative updates, α_j ← α_j · (gradient_j / its normalisation), which keep α ≥ 0 and mean w = 1."""
    centres = target[:: max(1, target.shape[0] // CENTRES)][:CENTRES]
    here, there = classifiers.squared_distances(x, centres), classifiers.squared_distances(target, centres)
    width = median_of_some(there) + 1e-12
    here, there = jnp.exp(-here / width), jnp.exp(-there / width)
    total = jnp.mean(here, axis=0) + 1e-12

    def update(alpha: jax.Array, _: None) -> tuple[jax.Array, None]:
        gradient = jnp.mean(there / (there @ alpha + 1e-12)[:, None], axis=0)
        return alpha * gradient / total, None

    alpha, _ = jax.lax.scan(update, jnp.full(centres.shape[0], 1.0) / jnp.sum(total), None, length=STEPS)
    return here @ alpha


def kmm(x: jax.Array, target: jax.Array, hp: Hp) -> jax.Array:
    """w(x_i) that minimise ½ wᵀ K w - κᵀ w, κ_i = n/m Σ_j k(x_i, x_j), by accelerated projected gradients (Beck 2009)."""
    n, m = x.shape[0], target.shape[0]
    here, there = classifiers.squared_distances(x, x), classifiers.squared_distances(x, target)
    width = median_of_some(there) + 1e-12
    kernel, wanted = jnp.exp(-here / width), n / m * jnp.sum(jnp.exp(-there / width), axis=1)
    rate = 1 / jnp.max(jnp.sum(kernel, axis=1))  # no more than the inverse of the largest eigenvalue

    def update(state: Any, _: None) -> tuple[Any, None]:
        w, ahead, t = state
        new = _with_mean_one(ahead - rate * (kernel @ ahead - wanted), hp["clip"])
        after = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return (new, new + (t - 1) / after * (new - w), after), None

    (w, _, _), _ = jax.lax.scan(update, (jnp.ones(n), jnp.ones(n), jnp.float32(1.0)), None, length=STEPS)
    return w


def _with_mean_one(w: jax.Array, most: jax.Array) -> jax.Array:
    """The nearest weights with 0 ≤ w ≤ most and mean 1: w - τ, clipped, τ by bisection."""

    def halve(bounds: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        low, high = bounds
        middle = (low + high) / 2
        heavy = jnp.mean(jnp.clip(w - middle, 0.0, most)) > 1
        return (jnp.where(heavy, middle, low), jnp.where(heavy, high, middle)), None

    (low, high), _ = jax.lax.scan(halve, (jnp.min(w) - most, jnp.max(w)), None, length=40)
    return jnp.clip(w - (low + high) / 2, 0.0, most)


ESTIMATES = {"discriminator": discriminator, "kliep": kliep, "kmm": kmm}

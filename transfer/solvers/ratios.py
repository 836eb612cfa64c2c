"""Ratios of densities, w(x_i) ≈ p_target(x_i) / p_source(x_i), from examples of both: x [n, d], target [m, d] -> [n]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from transfer.program import Hp
from transfer.solvers import classifiers
from transfer.solvers.kernels import median_of_some

CENTRES, STEPS = 200, 200
WIDTHS = (0.1, 0.3, 1.0, 3.0)  # of a kernel, in units of the median squared distance


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


def proportions(sources: Sequence[jax.Array], target: jax.Array) -> jax.Array:
    """Shares that minimise |Σ_i share_i μ_i - μ_target|², μ the mean embedding of a sample: [n_i, d] each, [m, d] -> [k].

    Kernel mean matching with one weight for each source. What a point has in common with itself counts for nothing, or a
    small source would seem far from everything. Gaussian kernel, its width of WIDTHS times the median squared distance in
    the target: the one by which the sources are told apart most surely.

    Paper: Huang, Smola, Gretton, Borgwardt, Schölkopf (2007); for mixtures Zhang, Gong, Schölkopf (2015); for the width
    Gretton, Sejdinovic, Strathmann, Balakrishnan, Pontil, Fukumizu, Sriperumbudur (2012).
    """
    k = len(sources)
    median = median_of_some(classifiers.squared_distances(target, target)) + 1e-12
    between = [[classifiers.squared_distances(x, y) for y in sources] for x in sources]
    across = [classifiers.squared_distances(x, target) for x in sources]

    def matched(width: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        alike = [[jnp.exp(-distances / width) for distances in row] for row in between]
        means = [
            [_between_others(of) if i == j else jnp.mean(of) for j, of in enumerate(row)] for i, row in enumerate(alike)
        ]
        powers = [_power(alike[i][i], alike[j][j], alike[i][j]) for i in range(k) for j in range(i)]
        wanted = [jnp.mean(jnp.exp(-distances / width)) for distances in across]
        return jnp.mean(jnp.stack(powers)), jnp.array(means), jnp.stack(wanted)

    powers, grams, all_wanted = jax.lax.map(matched, median * jnp.array(WIDTHS))
    gram, wanted = grams[jnp.argmax(powers)], all_wanted[jnp.argmax(powers)]
    centre = jnp.eye(k) - 1 / k  # shares sum to 1: what all sources have in common decides nothing
    rate = 1 / (jnp.max(jnp.abs(jnp.linalg.eigvalsh(centre @ gram @ centre))) + 1e-9)

    def update(shares: jax.Array, _: None) -> tuple[jax.Array, None]:
        ahead = shares - rate * centre @ (gram @ shares - wanted)
        return _with_mean_one(k * ahead, jnp.float32(k)) / k, None

    shares, _ = jax.lax.scan(update, jnp.full(k, 1 / k), None, length=STEPS)
    return shares


def _between_others(alike: jax.Array) -> jax.Array:
    """The mean of a kernel matrix [n, n] without its diagonal."""
    n = alike.shape[0]
    return (jnp.sum(alike) - jnp.trace(alike)) / (n * max(n - 1, 1))


def _power(x: jax.Array, y: jax.Array, across: jax.Array) -> jax.Array:
    """How surely a kernel tells two samples apart: the squared distance of their means over its standard deviation.

    x [n, n], y [m, m], across [n, m] are the kernel matrices; the deviation is that of equally many points of both.
    """
    n, m = across.shape
    size, apart = min(n, m), _between_others(x) + _between_others(y) - 2 * jnp.mean(across)
    of_x, of_y = (jnp.arange(size) * count // size for count in (n, m))
    both = across[of_x][:, of_y]
    h = x[of_x][:, of_x] + y[of_y][:, of_y] - both - both.T
    h -= jnp.diag(jnp.diag(h))
    variance = 4 / size**3 * jnp.sum(jnp.square(jnp.sum(h, axis=1))) - 4 / size**4 * jnp.square(jnp.sum(h))
    return apart / jnp.sqrt(jnp.maximum(variance, 1e-12))


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

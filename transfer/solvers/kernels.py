"""Gaussian kernels of two samples, and the maximum mean discrepancy that they give."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.solvers import classifiers


def gaussians(x: jax.Array, y: jax.Array) -> jax.Array:
    """Kernel matrix of x [n, d] and y [m, d] together [n + m, n + m]: the mean of five Gaussian kernels.

    Bandwidths are 1/4, 1/2, 1, 2, 4 times the median squared distance, which no gradient passes through.
    """
    both = jnp.concatenate([x, y])
    distance = classifiers.squared_distances(both, both)
    median = jax.lax.stop_gradient(median_of_some(distance)) + 1e-12
    return sum(jnp.exp(-distance / (median * scale)) for scale in (0.25, 0.5, 1.0, 2.0, 4.0)) / 5  # type: ignore[return-value]


def median_of_some(distance: jax.Array) -> jax.Array:
    """The median of at most 8,192 evenly spaced entries: large sorts are slow on CPUs."""
    flat = distance.ravel()
    return jnp.median(flat[:: max(1, flat.shape[0] // 4096 | 1)])


def discrepancy(kernel: jax.Array, n: int) -> jax.Array:
    """MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) of a joint kernel matrix whose first n rows are x."""
    return jnp.mean(kernel[:n, :n]) + jnp.mean(kernel[n:, n:]) - 2 * jnp.mean(kernel[:n, n:])


def mmd(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared maximum mean discrepancy (Gretton et al. 2012), biased, 0 for equal samples: [n, d], [m, d] -> scalar."""
    return discrepancy(gaussians(x, y), x.shape[0])

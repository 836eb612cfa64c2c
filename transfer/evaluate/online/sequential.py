"""Intervals that may be looked at every day: they hold at all times at once."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

ALPHA = 0.05
EARLY = 1000  # the number of values at which the interval is tightest


def tuned(early: int = EARLY, alpha: float = ALPHA) -> float:
    """ρ that makes the interval about the tightest after `early` values (Waudby-Smith et al. 2021, appendix B)."""
    log = math.log(1 / alpha)
    return math.sqrt((2 * log + math.log(1 + 2 * log)) / early)


def half_width(count: jax.Array, spread: jax.Array, alpha: float = ALPHA) -> jax.Array:
    """Half of an asymptotic confidence sequence of a mean (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2021):

        σ √( 2 (nρ² + 1) / (n² ρ²) · log( √(nρ² + 1) / α ) ),   ρ = tuned(alpha=α)

    count: n, spread: σ, float32 [...]. The chance that the mean leaves it at any n is at most alpha, for large n.
    Infinite for fewer than two values.
    """
    rho2 = tuned(alpha=alpha) ** 2
    n = jnp.maximum(count, 2.0)
    half = spread * jnp.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * jnp.log(jnp.sqrt(n * rho2 + 1) / alpha))
    return jnp.where(count < 2, jnp.inf, half)


def spread_of(count: jax.Array, total: jax.Array, squares: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation from sums of n values and of their squares, float32 [...]."""
    mean = total / jnp.maximum(count, 1.0)
    return mean, jnp.sqrt(jnp.maximum(squares / jnp.maximum(count, 1.0) - mean**2, 0.0))

"""Figures that are functions of means over a log: their values, their errors, and the values in bootstrap draws.

    value = f(m),  m_k = (1/n) Σ_i t_k(i)        influence of row i = Σ_k ∂f/∂m_k (t_k(i) - m_k)
    error² = G/(G-1) Σ_g (Σ_{i∈g} influence_i)² / n²           over units g: readers, slates, or single rows

The derivatives are JAX's: an estimator is written once, as its function of means (delta method: van der Vaart 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Terms = Mapping[str, jax.Array]  # float32 [..., n], by name
Means = Mapping[str, jax.Array]  # float32 [...]
Figures = Callable[[Means], jax.Array]  # of means: float32 [figures]


def means_of(terms: Terms) -> Means:
    """The mean of every term over its last axis."""
    return {name: jnp.mean(term, axis=-1) for name, term in terms.items()}


def influences(figures: Figures, terms: Terms) -> tuple[jax.Array, jax.Array]:
    """The figures, float32 [figures], and what every row adds to them, float32 [figures, n]."""
    means, rows = means_of(terms), next(iter(terms.values())).shape[-1]
    value, slopes = figures(means), jax.jacrev(figures)(means)
    slope = jnp.concatenate([slopes[name].reshape(value.shape[0], -1) for name in terms], axis=1)
    apart = jnp.concatenate([(terms[name] - means[name][..., None]).reshape(-1, rows) for name in terms])
    return value, jnp.matmul(slope, apart, precision=jax.lax.Precision.HIGHEST)


def error_of(influence: jax.Array, unit: jax.Array | None, n_units: int) -> jax.Array:
    """Standard errors float32 [...] of figures from the influences [..., n] of rows; unit int32 [n]; None: a row each."""
    rows = influence.shape[-1]
    if unit is not None:
        flat = influence.reshape(-1, rows)
        sums = jax.vmap(lambda of: jax.ops.segment_sum(of, unit, n_units))(flat)
        influence = sums.reshape(*influence.shape[:-1], n_units)
    groups = influence.shape[-1]
    return jnp.sqrt(groups / max(groups - 1, 1) * jnp.sum(influence**2, axis=-1)) / rows


def poisson(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """How often every unit is drawn, float32: Poisson(1) counts, which stand for draws with replacement."""
    uniform = jax.random.uniform(key, shape)
    counts, chance, below = jnp.zeros(shape, jnp.float32), jnp.exp(jnp.float32(-1)), jnp.float32(0)
    for k in range(1, 9):  # P(more than 8) is 1e-6
        below = below + chance
        counts = counts + (uniform >= below).astype(jnp.float32)
        chance = chance / k
    return counts


def redrawn(terms: Terms, counts: jax.Array) -> Means:
    """The means of terms [..., n] in draws, float32 [draws, ...], of rows that came counts [draws, n] times."""
    total = jnp.sum(counts, axis=-1)
    every = {name: jnp.tensordot(counts, term, axes=((1,), (term.ndim - 1,))) for name, term in terms.items()}
    return {name: value / total.reshape(-1, *(1,) * (value.ndim - 1)) for name, value in every.items()}

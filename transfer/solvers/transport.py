"""Entropic optimal transport between two samples of equal weights (Cuturi 2013), in logarithms."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def sinkhorn(cost: jax.Array, entropy: jax.Array, rounds: int) -> jax.Array:
    """The plan min_γ ⟨γ, cost⟩ + entropy Σ γ log γ with rows summing to 1/n, columns to 1/m: cost [n, m] -> γ [n, m].

    `rounds` alternations; the columns' sums are exact at the end.
    """
    n, m = cost.shape
    scaled = -cost / entropy

    def alternate(g: jax.Array, _: None) -> tuple[jax.Array, None]:
        f = -jnp.log(jnp.float32(n)) - jax.nn.logsumexp(scaled + g[None, :], axis=1)
        return -jnp.log(jnp.float32(m)) - jax.nn.logsumexp(scaled + f[:, None], axis=0), None

    g, _ = jax.lax.scan(alternate, jnp.zeros(m), None, length=rounds - 1)
    f = -jnp.log(jnp.float32(n)) - jax.nn.logsumexp(scaled + g[None, :], axis=1)
    g = -jnp.log(jnp.float32(m)) - jax.nn.logsumexp(scaled + f[:, None], axis=0)
    return jnp.exp(scaled + f[:, None] + g[None, :])

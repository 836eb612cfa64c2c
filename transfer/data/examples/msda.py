"""Marginalised stacked denoising autoencoders: features of counts that are the same words' company in both domains.

A layer is h = tanh(W [x, 1]), W = argmin E |x - W [x̃, 1]|² where x̃ loses each entry with probability p. The expectation has
a closed form: W = P Q⁻¹ with S = Σ [x, 1][x, 1]ᵀ, q = (1 - p, ..., 1 - p, 1), P_ij = S_ij q_j, Q_ij = S_ij q_i q_j and
Q_ii = S_ii q_i. Layers are stacked, and all of them are kept beside x.

Paper: Chen, Xu, Weinberger, Sha (2012), mSDA.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve

RIDGE = 1e-5  # of all columns but the constant, as in the authors' code


def stacked(xs: list[np.ndarray], fit: list[np.ndarray], layers: int, corruption: float) -> list[np.ndarray]:
    """x float32 [n, d] of every domain -> [n, (1 + layers) d]; every layer is fitted on the `fit` rows of all domains."""
    hidden, found = [jnp.asarray(x) for x in xs], [[x] for x in xs]
    for _ in range(layers):
        w = denoiser(jnp.concatenate([x[rows] for x, rows in zip(hidden, fit, strict=True)]), jnp.float32(corruption))
        hidden = [encoded(x, w) for x in hidden]
        for of_domain, h in zip(found, hidden, strict=True):
            of_domain.append(np.asarray(h))
    return [np.concatenate(of_domain, axis=1) for of_domain in found]


@jax.jit
def denoiser(x: jax.Array, corruption: jax.Array) -> jax.Array:
    """Wᵀ [d + 1, d] of one layer for x [n, d]."""
    whole = jnp.concatenate([x, jnp.ones((x.shape[0], 1))], axis=1)
    scatter = whole.T @ whole
    kept = jnp.full(scatter.shape[0], 1 - corruption).at[-1].set(1.0)
    diagonal = jnp.diag(scatter) * kept + RIDGE
    q = jnp.where(jnp.eye(len(kept), dtype=bool), diagonal[:, None], scatter * jnp.outer(kept, kept))
    # a system of unit diagonal: counts of rare and of common words are far apart for float32
    scale = jax.lax.rsqrt(diagonal)
    factor = cho_factor(q * jnp.outer(scale, scale), lower=True)
    return scale[:, None] * cho_solve(factor, scale[:, None] * kept[:, None] * scatter[:, :-1])


@jax.jit
def encoded(x: jax.Array, w: jax.Array) -> jax.Array:
    """tanh(W [x, 1]): [n, d] -> [n, d]."""
    return jnp.tanh(x @ w[:-1] + w[-1][None, :])

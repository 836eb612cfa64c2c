"""Covariances by their eigenvectors, from the smaller side of the data: n examples of d features cost min(n, d)³."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from transfer.data.examples.world import ExamplesWorld
from transfer.errors import TransferError
from transfer.program import Params

ROUNDS, SPARE = 8, 10  # of subspace iteration, and directions beside those that are wanted


def spectrum(x: jax.Array) -> Params:
    """Mean [d], eigenvectors [d, r] and eigenvalues [r] (rising) of the covariance of x [n, d], r = min(n, d).

    With fewer examples than features the eigenvectors come from the Gram matrix of the examples; directions in which the
    data do not vary have eigenvalue and vector zero there.
    """
    mean = jnp.mean(x, axis=0)
    centred = x - mean[None, :]
    n, d = x.shape
    if n >= d:
        values, vectors = jnp.linalg.eigh(centred.T @ centred / (n - 1))
        return {"mean": mean, "vectors": vectors, "values": _without_noise(values)}
    values, inner = jnp.linalg.eigh(centred @ centred.T / (n - 1))
    values = _without_noise(values)
    scale = positive_power(values * (n - 1), -0.5)
    return {"mean": mean, "vectors": centred.T @ (inner * scale[None, :]), "values": values}


def leading(x: jax.Array, dim: int, key: jax.Array) -> Params:
    """As `spectrum`, of the `dim` leading directions alone, for many features: subspace iteration, 4 n d dim per round.

    Q ← orth(C Q) from a random start, then the eigenvectors within Q (Halko, Martinsson, Tropp 2011, algorithm 4.4).
    """
    mean = jnp.mean(x, axis=0)
    centred = (x - mean[None, :]) / math.sqrt(x.shape[0] - 1)

    width = min(dim + SPARE, *x.shape)
    q = _iterated(lambda q: centred.T @ (centred @ q), (x.shape[1], width), key, ROUNDS)
    inside = centred @ q
    values, vectors = jnp.linalg.eigh(inside.T @ inside)
    return {"mean": mean, "vectors": q @ vectors[:, -dim:], "values": _without_noise(values)[-dim:]}


def leading_of(matrix: jax.Array, dim: int, key: jax.Array) -> jax.Array:
    """The eigenvectors [d, dim] of the largest eigenvalues of a positive matrix [d, d], rising: 4 d² dim per round.

    Eigenvalues of graphs fall slowly: twice as many directions and four times the rounds leave little to the start.
    """
    d = matrix.shape[0]
    q = _iterated(lambda q: matrix @ q, (d, min(2 * dim + SPARE, d)), key, 4 * ROUNDS)
    return q @ jnp.linalg.eigh(q.T @ (matrix @ q))[1][:, -dim:]


def right_vectors(
    forth: Callable[[jax.Array], jax.Array], back: Callable[[jax.Array], jax.Array], n: int, dim: int, key: jax.Array
) -> jax.Array:
    """The right singular vectors [d, dim] of the largest singular values of X [n, d], rising, by its products alone.

    forth(Q) is X Q, back(P) is Xᵀ P; subspace iteration on the side of the rows. Zero where X has fewer than dim.
    """
    q = _iterated(lambda q: forth(back(q)), (n, min(dim + SPARE, n)), key, ROUNDS)
    rows = back(q)  # Xᵀ Q
    values, vectors = jnp.linalg.eigh(rows.T @ rows)
    return (rows @ (vectors * positive_power(_without_noise(values), -0.5)[None, :]))[:, -dim:]


def _iterated(times: Callable[[jax.Array], jax.Array], shape: tuple[int, int], key: jax.Array, rounds: int) -> jax.Array:
    """Q ← orth(C Q) from a random start of this shape; times(Q) is C Q."""

    def round_(q: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.linalg.qr(times(q))[0], None

    return jax.lax.scan(round_, jnp.linalg.qr(jax.random.normal(key, shape))[0], None, length=rounds)[0]


def power(spectrum: Params, x: jax.Array, exponent: float, shrinkage: jax.Array) -> jax.Array:
    """x (C + shrinkage I)^exponent for rows x [B, d]; the directions outside the eigenvectors have covariance 0.

    Where C + shrinkage I is singular (shrinkage 0), a negative power is that of the pseudo-inverse.
    """
    inside = x @ spectrum["vectors"]
    scales = positive_power(spectrum["values"] + shrinkage, exponent)
    outside = positive_power(shrinkage, exponent)
    return outside * x + (inside * (scales - outside)[None, :]) @ spectrum["vectors"].T


def _without_noise(values: jax.Array) -> jax.Array:
    """Rising eigenvalues [r] with 0 for those that float32 cannot tell from it."""
    return jnp.where(values > 1e-6 * values[-1], values, 0.0)


def positive_power(values: jax.Array, exponent: float) -> jax.Array:
    """values^exponent where they are positive, else 0."""
    return jnp.where(values > 0, jnp.where(values > 0, values, 1.0) ** exponent, 0.0)


def principal(x: jax.Array, dim: int) -> tuple[jax.Array, jax.Array]:
    """Mean [d] and the `dim` leading principal directions [d, dim] of x [n, d], the first one first."""
    moments = spectrum(x)
    return moments["mean"], moments["vectors"][:, ::-1][:, :dim]


def check_dim(dim: int, world: ExamplesWorld, share: float = 1.0) -> int:
    """`method.dim`, if every domain has as many directions and the inputs 1/share times as many. Else a TransferError."""
    features = math.prod(world.unlabelled.shape[1:])
    most = min(
        int(share * features), *(n - 1 for n in (world.unlabelled.shape[0], *(s.train.x.shape[0] for s in world.sources)))
    )
    if not 1 <= dim <= most:
        raise TransferError(
            f"method.dim={dim}: here it must be from 1 to {most}, by the features and examples of the domains"
        )
    return dim

"""Geodesic flow kernel: ⟨x, x'⟩ averaged over all subspaces between the source's and the target's, xᵀ G x', G = R Rᵀ.

With P_sᵀ P_t = U cos(Θ) Vᵀ the path from P_s to P_t is Φ(t) = P_s U cos(tΘ) - Q sin(tΘ), and G = ∫₀¹ Φ(t) Φ(t)ᵀ dt has a
closed form in the angles Θ; z = (x - μ_d) R.

Paper: Gong, Shi, Sha, Grauman (2012), geodesic flow kernel.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning import alignment
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Hp, Needs, Params, Program, Task
from transfer.solvers.spectra import check_dim, principal

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True)
HP = alignment.HP


class Settings(alignment.Settings):
    classifier: alignment.Kind = "nn"
    dim: int = Field(default=20, ge=1)  # of the subspaces, at most half the number of features


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    dim = check_dim(config.method.dim, world, share=0.5)

    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        (mean_s, p_s), (mean_t, p_t) = principal(source.x, dim), principal(target, dim)
        return {"mean_s": mean_s, "mean_t": mean_t, "root": flow_root(p_s, p_t)}

    return aligned(
        config,
        world,
        solve,
        source=lambda map_, x: (x - map_["mean_s"][None, :]) @ map_["root"],
        target=lambda map_, x: (x - map_["mean_t"][None, :]) @ map_["root"],
    )


def flow_root(p_s: jax.Array, p_t: jax.Array) -> jax.Array:
    """R [d, 2 dim] with R Rᵀ = G for orthonormal bases p_s, p_t [d, dim]."""
    u, cosine, vt = jnp.linalg.svd(p_s.T @ p_t)
    cosine = jnp.clip(cosine, 0.0, 1.0)
    theta = jnp.arccos(cosine)
    start, end = p_s @ u, p_t @ vt.T
    away = end - start * cosine[None, :]  # orthogonal to the source's subspace, of length sin θ
    away = away / jnp.maximum(jnp.linalg.norm(away, axis=0, keepdims=True), 1e-6)
    ratio = jnp.sinc(2 * theta / jnp.pi)  # sin 2θ / 2θ
    sine = jnp.where(theta > 1e-3, jnp.square(jnp.sin(theta)) / jnp.maximum(theta, 1e-3), theta)  # (1 - cos 2θ) / 2θ
    # in the plane of `start` and `away` G is the 2 x 2 matrix ½ [[1 + ratio, sine], [sine, 1 - ratio]]; its Cholesky root
    a = jnp.sqrt((1 + ratio) / 2)
    b = sine / 2 / a
    c = jnp.sqrt(jnp.maximum((1 - ratio) / 2 - b**2, 0.0))
    return jnp.concatenate([start * a[None, :] + away * b[None, :], away * c[None, :]], axis=1)

"""Transfer component analysis: directions W in a kernel space that keep variance and lose the difference of the means.

max tr(Wᵀ K H K W) subject to Wᵀ (K L K + μ I) W = I; L = e eᵀ, e = 1/n_s on the source and -1/n_t on the target, so that
tr(Wᵀ K L K W) is the MMD; z = k(x, X) W / |k(x, X) W|. μ is hp.mu.

Paper: Pan, Tsang, Kwok, Yang (2011), transfer component analysis.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning import alignment
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Hp, Needs, Params, Program, Range, Task
from transfer.solvers.classifiers import squared_distances
from transfer.solvers.spectra import check_dim

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True)
HP = {**alignment.HP, "mu": Range(1.0, low=0, above=True)}


class Settings(alignment.Settings):
    classifier: alignment.Kind = "nn"
    dim: int = Field(default=40, ge=1)  # components
    kernel: Literal["linear", "rbf"] = "linear"


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    dim, linear = check_dim(config.method.dim, world), config.method.kernel == "linear"

    def kernel(x: jax.Array, to: jax.Array) -> jax.Array:
        """Of examples brought to length 1: the cosine, or exp(-|x - x'|²)."""
        return _unit(x) @ to.T if linear else jnp.exp(-squared_distances(_unit(x), to))

    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        n_s, n_t = source.x.shape[0], target.shape[0]
        x = _unit(jnp.concatenate([source.x, target]))
        k = kernel(x, x)
        v = k @ jnp.concatenate([jnp.full(n_s, 1 / n_s), jnp.full(n_t, -1 / n_t)])  # K L K = v vᵀ
        size = jnp.sum(v * v)
        # (v vᵀ + μ I)^-½ = μ^-½ (I - shrink v vᵀ / |v|²)
        shrink = (1 - jnp.sqrt(hp["mu"] / (hp["mu"] + size))) / jnp.maximum(size, 1e-30)

        def half(a: jax.Array) -> jax.Array:
            return (a - shrink * v[:, None] * (v @ a)[None, :]) / jnp.sqrt(hp["mu"])

        centred = half(k - jnp.mean(k, axis=1, keepdims=True))  # half · K H
        _, vectors = jnp.linalg.eigh(centred @ centred.T)
        return {"x": x, "w": half(vectors[:, ::-1][:, :dim])}

    def project(map_: Params, x: jax.Array) -> jax.Array:
        return _unit(kernel(x, map_["x"]) @ map_["w"])

    return aligned(config, world, solve, project, project)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-9)

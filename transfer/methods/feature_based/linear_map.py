"""A linear map A from source to target between the means of each class: min_A Σ_c n_c |A m_c^s - m_c^t|² + λ |A - I|²_F.

method.map=ridge keeps A near the identity (λ = hp.ridge; 0 is least squares), procrustes makes it orthogonal:
A = V Uᵀ from the SVD of Σ_c n_c m_c^s m_c^tᵀ = U S Vᵀ. Needs labelled target examples: n_c counts them.

Paper: Schönemann (1966), orthogonal Procrustes.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning import alignment
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Hp, Needs, Params, Program, Range, Task

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True, target_labels=True)
HP = {**alignment.HP, "ridge": Range(10.0, low=0)}


class Settings(alignment.Settings):
    map: Literal["ridge", "procrustes"] = "ridge"


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        assert few is not None
        mean_s, mean_t = jnp.mean(source.x, axis=0), jnp.mean(target, axis=0)
        count = jnp.sum(few.y, axis=0)
        weight = jnp.sqrt(jnp.where(jnp.sum(source.y, axis=0) > 0, count, 0.0))[:, None]
        a = weight * (_class_means(source) - mean_s[None, :])  # [classes, d]
        b = weight * (_class_means(few) - mean_t[None, :])
        # both maps differ from the identity, or are any map at all, in the span of the class means only
        if config.method.map == "ridge":
            gram = a @ a.T + (hp["ridge"] + 1e-6) * jnp.eye(a.shape[0])
            left, right = a, jnp.linalg.solve(gram, b - a)
        else:
            u, _, vt = jnp.linalg.svd(a.T @ b, full_matrices=False)
            rank = a.shape[0]
            u, vt = u[:, :rank], vt[:rank]
            left, right = u.T, vt - u.T
        return {"mean_s": mean_s, "mean_t": mean_t, "left": left, "right": right}

    def carry(map_: Params, x: jax.Array) -> jax.Array:
        centred = x - map_["mean_s"][None, :]
        return centred + centred @ map_["left"].T @ map_["right"] + map_["mean_t"][None, :]

    return aligned(config, world, solve, carry, lambda _, x: x)


def _class_means(examples: Examples) -> jax.Array:
    return examples.y.T @ examples.x / jnp.maximum(jnp.sum(examples.y, axis=0), 1.0)[:, None]

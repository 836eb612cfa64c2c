"""Correlation alignment: recolour the source with the target's covariance, x ↦ (x - μ_s) (C_s + λI)^-½ (C_t + λI)^½ + μ_t.

λ is hp.shrinkage. method.dim: that many leading directions of each covariance, the rest as 0 (null: all).

Paper: Sun, Feng, Saenko (2016), return of frustratingly easy domain adaptation.
"""

from __future__ import annotations

import jax
from pydantic import Field

from transfer.config.schema import Config
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning import alignment
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Hp, Needs, Params, Program, Range, Task
from transfer.solvers.spectra import check_dim, leading, power, spectrum

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True)
HP = {**alignment.HP, "shrinkage": Range(1.0, low=0)}


class Settings(alignment.Settings):
    # leading directions of the covariances; null: all. For thousands of features some hundreds are quicker
    dim: int | None = Field(default=None, ge=1)


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    dim = None if config.method.dim is None else check_dim(config.method.dim, world)

    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        domains = {"source": source.x, "target": target}
        moments = {name: spectrum(x) if dim is None else leading(x, dim, key) for name, x in domains.items()}
        return {**moments, "shrinkage": hp["shrinkage"]}

    def recolour(map_: Params, x: jax.Array) -> jax.Array:
        s, t, shrinkage = map_["source"], map_["target"], map_["shrinkage"]
        white = power(s, x - s["mean"][None, :], -0.5, shrinkage)
        return power(t, white, 0.5, shrinkage) + t["mean"][None, :]

    return aligned(config, world, solve, recolour, lambda _, x: x)

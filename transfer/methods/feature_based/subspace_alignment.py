"""Align the source's principal directions with the target's: z_s = (x - μ_s) P_s (P_sᵀ P_t), z_t = (x - μ_t) P_t.

M = P_sᵀ P_t minimises |P_s M - P_t|²; method.dim directions.

Paper: Fernando, Habrard, Sebban, Tuytelaars (2013).
"""

from __future__ import annotations

import jax
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
    dim: int = Field(default=20, ge=1)  # principal directions


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    dim = check_dim(config.method.dim, world)

    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        (mean_s, p_s), (mean_t, p_t) = principal(source.x, dim), principal(target, dim)
        return {"mean_s": mean_s, "p_s": p_s, "m": p_s.T @ p_t, "mean_t": mean_t, "p_t": p_t}

    return aligned(
        config,
        world,
        solve,
        source=lambda map_, x: (x - map_["mean_s"][None, :]) @ map_["p_s"] @ map_["m"],
        target=lambda map_, x: (x - map_["mean_t"][None, :]) @ map_["p_t"],
    )

"""Transport the source onto the target: T(x_i) = Σ_j γ_ij x_j / Σ_j γ_ij, γ the entropic plan for squared distances.

γ = argmin ⟨γ, M⟩ + hp.entropy Σ γ log γ + hp.group Σ_j Σ_c |γ_{c,j}|^½: each target example takes from one class of the
source, where labels exist, by majorisation. Unseen source examples move as their nearest neighbour does.

Paper: Courty, Flamary, Tuia, Rakotomamonjy (2017); out of sample Ferradans et al. (2014).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning import alignment
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Hp, Needs, Params, Program, Range, Task
from transfer.solvers.classifiers import squared_distances
from transfer.solvers.transport import sinkhorn

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True)
HP = {**alignment.HP, "entropy": Range(0.05, low=0, above=True), "group": Range(0.05, low=0)}


class Settings(alignment.Settings):
    rounds: int = Field(default=50, ge=1)  # of Sinkhorn


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    rounds = config.method.rounds

    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        cost = squared_distances(source.x, target)
        cost = cost / jnp.mean(cost)
        n = source.x.shape[0]

        def majorise(extra: jax.Array, _: None) -> tuple[jax.Array, None]:
            plan = n * sinkhorn(cost + extra, hp["entropy"], rounds)
            of_class = source.y.T @ plan  # [classes, targets]: what each takes from a class
            slope = 0.5 / jnp.sqrt(of_class + 1e-3)
            return hp["group"] * source.y @ slope / jnp.maximum(jnp.sum(source.y, axis=1, keepdims=True), 1.0), None

        extra, _ = jax.lax.scan(majorise, jnp.zeros(cost.shape), None, length=4)
        plan = sinkhorn(cost + extra, hp["entropy"], rounds)
        return {"from": source.x, "to": plan @ target / jnp.sum(plan, axis=1, keepdims=True)}

    def move(map_: Params, x: jax.Array) -> jax.Array:
        nearest = jnp.argmin(squared_distances(x, map_["from"]), axis=1)
        return x + map_["to"][nearest] - map_["from"][nearest]

    return aligned(config, world, solve, move, lambda _, x: x)

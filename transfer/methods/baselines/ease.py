"""A linear item-item model in closed form: B = I - P diag(1 / diag P), P = (G + hp.ridge I)⁻¹, scores = X_u B.

X holds the target's items and, unless method.domains=target, those of every source beside them, the source columns
scaled by hp.source_weight; of several sources each by its own factor too: hp.source_weight_2=0.5. method.most
keeps that many of each domain's most chosen items, where all of them do not fit; the others then have no score.

G = XᵀX + Σ_m hp.weight_m F_m F_mᵀ, where the rows of F_m are the items' vectors in the block m (domain.features; text),
of all domains: films and books meet in them without a common user, and an item that nobody has chosen has a score.
hp.weight stands for the blocks that have no number of their own.

Paper: Steck (2019), EASE; Jeunen, Van Balen, Goethals (2020), side information.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import histories
from transfer.solvers.joint import (
    everywhere,
    feature_weights,
    joint_features,
    joint_rows,
    joint_width,
    most_chosen,
    over_rows,
    source_weights,
)

NEEDS = Needs(tasks=("ranking",))
HP = {
    "ridge": Range(1000.0, low=0, above=True),
    "source_weight": Range(1.5, low=0, by_source=True),
    "weight": Range(0.0, low=0, by_block=True),
}


class Settings(Method):
    domains: Literal["both", "target"] = "both"
    most: int | None = Field(default=None, ge=1)  # of each domain's items, those most chosen, where all are too many


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    both = config.method.domains == "both"
    most = config.method.most
    width = joint_width(jax.eval_shape(lambda world: most_chosen(world, most), world), both)
    histories.check_dense(width, width, "method=ease without a smaller method.most")

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        world = most_chosen(world, most)
        gram = over_rows(world, both, source_weights(world, hp), lambda x: x.T @ x)
        strength = feature_weights(world, hp)
        gram += sum(strength[name] * (rows @ rows.T) for name, rows in joint_features(world, both).items())
        inverse = jnp.linalg.inv(gram + hp["ridge"] * jnp.eye(width))
        items = jnp.arange(world.n_items)
        weights = -inverse[:, : world.n_items] / jnp.diag(inverse)[None, : world.n_items]
        return {"weights": weights.at[items, items].set(0.0)}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        few, weights = most_chosen(world, most), done["weights"]["weights"]

        def score(users: jax.Array) -> jax.Array:
            return everywhere(world, most, joint_rows(few, both, source_weights(few, hp), users) @ weights)

        return score

    return Program((Solve("weights", solve),), scores, folds_in=True)

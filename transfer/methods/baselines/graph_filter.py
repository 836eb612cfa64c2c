"""A low-pass filter on the graph of users and items, in closed form: s_u = x_u ((1 - a) Ñ + a D^-½ V Vᵀ D^½).

Ñ = R̃ᵀR̃ and R̃ = D_u^-½ X D^-½, where the diagonals D_u and D hold the sums of X's rows and columns. Ñ is the linear filter;
V Vᵀ, on the method.rank leading eigenvectors of Ñ, the right singular vectors of R̃, is the ideal one: what varies slowly
over the graph passes, the rest does not. a = hp.low_pass is the share of the ideal one.

X holds the target's items and, unless method.domains=target, those of every source beside them: an edge to a source's item
weighs hp.source_weight, of several sources times hp.source_weight_1, hp.source_weight_2, … A weight of 0 takes a source
out of the graph.

Paper: Shen, Wu, Zhang, Shan, Zhang, Letaief, Li (2021), GF-CF.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import histories, spectra
from transfer.solvers.joint import joint_rows, joint_width, over_rows, source_weights

NEEDS = Needs(tasks=("ranking",))
HP = {"low_pass": Range(0.3, low=0, high=1), "source_weight": Range(1.0, low=0, by_source=True)}


class Settings(Method):
    domains: Literal["both", "target"] = "both"
    rank: int = Field(default=64, ge=1)  # eigenvectors of the ideal filter


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    both = config.method.domains == "both"
    width = joint_width(world, both)
    rank = min(config.method.rank, width, world.n_users)
    histories.check_dense(width, width, "method=graph_filter")

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        def degrees_and_products(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jnp.sum(x, axis=0), x.T @ (x * spectra.positive_power(jnp.sum(x, axis=1), -1)[:, None])

        degrees, products = over_rows(world, both, source_weights(world, hp), degrees_and_products)
        root, inverse = jnp.sqrt(degrees), spectra.positive_power(degrees, -0.5)
        linear = inverse[:, None] * products * inverse[None, :]
        v = spectra.leading_of(linear, rank, key)
        ideal = (inverse[:, None] * v) @ (root[:, None] * v)[: world.n_items].T
        return {"filter": (1 - hp["low_pass"]) * linear[:, : world.n_items] + hp["low_pass"] * ideal}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        return lambda users: joint_rows(world, both, source_weights(world, hp), users) @ done["graph"]["filter"]

    return Program((Solve("graph", solve),), scores, folds_in=True)

"""Items like those of the user: s(u, i) = Σ_j x_uj sim(j, i) over the method.neighbours items j most like i.

sim is the cosine over users, x_i · x_j / (|x_i| |x_j| + hp.shrinkage); the items j are the target's and, unless
method.domains=target, the sources'. (Sarwar et al. 2001)

Paper: Sarwar et al. (2001).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer import config
from transfer.config import Config
from transfer.data.world import World
from transfer.models import histories
from transfer.models.joint import joint_matrix, joint_rows, joint_width, source_weights
from transfer.program import Done, Hp, Model, Needs, Params, Program, Scores, Solve, Task

NEEDS = Needs(tasks=("ranking",))


class Settings(config.Method):
    domains: Literal["both", "target"]
    neighbours: int


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    both = config.method.domains == "both"
    width = joint_width(world, both)
    neighbours = min(config.method.neighbours, width)
    histories.check_dense(max(width, world.n_users), width, "method=item_knn")

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        x = joint_matrix(world, both, [1.0] * len(world.sources))
        norm = jnp.sqrt(jnp.sum(x * x, axis=0))
        similarity = (x[:, : world.n_items].T @ x) / (norm[: world.n_items, None] * norm[None, :] + hp["shrinkage"] + 1e-9)
        items = jnp.arange(world.n_items)
        similarity = similarity.at[items, items].set(0.0)
        least = jax.lax.top_k(similarity, neighbours)[0][:, -1:]
        return {"similarity": jnp.where(similarity >= least, similarity, 0.0).T}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        return lambda users: joint_rows(world, both, source_weights(world, hp), users) @ done["items"]["similarity"]

    return Program((Solve("items", solve),), scores, folds_in=True)

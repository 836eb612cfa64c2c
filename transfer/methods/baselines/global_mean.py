"""Predict the mean training rating: r̂ = μ."""

from __future__ import annotations

import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.program import Model, Needs, Program, Solve, Task

NEEDS = Needs(tasks=("rating",))


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    solve = Solve("mean", lambda world, done, hp, key: {"mean": world.target.train.mean_rating})

    return Program(
        (solve,), lambda world, done, hp: lambda users: jnp.full((len(users), world.n_items), done["mean"]["mean"])
    )

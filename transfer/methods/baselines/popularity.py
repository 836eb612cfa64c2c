"""Recommend what most people chose: s(u, i) = number of training events of i."""

from __future__ import annotations

import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.program import Model, Needs, Program, Solve, Task

NEEDS = Needs(tasks=("ranking",))


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    solve = Solve("counts", lambda world, done, hp, key: {"count": world.target.train.item_counts})
    return Program(
        (solve,),
        lambda world, done, hp: lambda users: jnp.broadcast_to(done["counts"]["count"], (len(users), world.n_items)),
        folds_in=True,
    )

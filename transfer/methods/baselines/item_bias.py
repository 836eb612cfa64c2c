"""Predict the damped mean of the item: r̂ = μ + b_i, b_i = Σ (r - μ) / (n_i + hp.damping)."""

from __future__ import annotations

import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Model, Needs, Program, Range, Scores, Solve, Task
from transfer.solvers.biases import item_biases

NEEDS = Needs(tasks=("rating",))
HP = {"damping": Range(10.0, low=0)}


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    solve = Solve("bias", lambda world, done, hp, key: item_biases(world.target.train, hp["damping"]))

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        row = done["bias"]["mean"] + done["bias"]["bias"]
        return lambda users: jnp.broadcast_to(row, (len(users), world.n_items))

    return Program((solve,), scores)

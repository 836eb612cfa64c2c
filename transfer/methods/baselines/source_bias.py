"""Add what the user's source ratings say of her mood: r̂ = μ + b_i + s · d_u.

d_u is the damped mean of r - μ - b_i over the user's source events, s the least-squares slope on the target's training.
"""

from __future__ import annotations

from functools import partial

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.program import Model, Needs, Program, Range, Solve, Task
from transfer.solvers import biases

NEEDS = Needs(tasks=("rating",), source=True, shared_users=True)
HP = {"damping": Range(10.0, low=0), "user_damping": Range(10.0, low=0)}


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    solve = Solve("bias", lambda world, done, hp, key: biases.source_biases(world, hp))
    return Program((solve,), lambda world, done, hp: partial(biases.scores, done["bias"]))

"""The weighted sum of the scores of several methods: s(u, i) = Σ_m w_m z_m(u, i), z each reader's of mean 0, deviation 1.

A member is a method's name with overrides of its own, such as "ease method.domains=target hp.ridge=300"; what it does not
say is as in this run, and its hp are the defaults. All are fitted in one run, each as it would be alone. w_m is
hp.weight_m, or hp.weight where that is not given, over the sum of them all. Ratings are added as they are. sweep=auto finds
members and weights.

Paper: Caruana, Niculescu-Mizil, Crew, Ksikes (2004), ensemble selection.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.errors import TransferError
from transfer.learning.guard import mixture_scores
from transfer.program import AnyWorld, Done, Hp, Model, Needs, Program, Range, Scores, Task

NEEDS = Needs()
HP = {"weight": Range(1.0, low=0, by_member=True)}


class Settings(Method):
    members: list[str] = Field(default=["ridge_map", "user_knn"], min_length=2)


def build(config: Config, world: AnyWorld, task: Task, model: Model, members: Sequence[Program] = ()) -> Program:
    """members: their programs, with stages of different names."""
    if config.init_from:
        raise TransferError("method=ensemble has models of several methods, and init_from one; leave one of them out")

    def scores(world: AnyWorld, done: Done, hp: Hp) -> Scores:
        weights = jnp.stack([hp.get(f"weight_{i}", hp["weight"]) for i in range(1, len(members) + 1)])
        shares = weights / jnp.sum(weights)
        return mixture_scores([member.scores(world, done, hp) for member in members], shares, config.task.name, world)

    stages = [stage for member in members for stage in member.stages]
    return Program(tuple(stages), scores, folds_in=all(member.folds_in for member in members))

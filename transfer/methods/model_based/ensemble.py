"""The weighted sum of the scores of several methods: s(u, i) = Σ_m w_m z_m(u, i), z each reader's of mean 0, deviation 1.

A member is a method's name with overrides of its own, such as "ease method.domains=target hp.ridge=300"; what it does not
say is as in this run, and its hp are the defaults. All are fitted in one run, each as it would be alone. w_m is
hp.weight_m, or hp.weight where that is not given, over the sum of them all. Ratings are added as they are. sweep=auto finds
members and weights.

With method.gate=true each reader has weights of her own: the odds of the first member against the others are multiplied by
exp(a·z_u), a = hp.gate_target, hp.gate_source, hp.gate_surprise, hp.gate_nearness (`learning.gate` says what z_u is).

Paper: Caruana, Niculescu-Mizil, Crew, Ksikes (2004), ensemble selection; Jacobs, Jordan, Nowlan, Hinton (1991), the gate.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.errors import TransferError
from transfer.learning import gate
from transfer.learning.guard import mixture_scores
from transfer.program import AnyWorld, Done, Hp, Model, Needs, Program, Range, Scores, Task

NEEDS = Needs()
HP = {"weight": Range(1.0, low=0, by_member=True), **{f"gate_{name}": Range(0.0) for name in gate.TRAITS}}


class Settings(Method):
    members: list[str] = Field(default=["ridge_map", "user_knn"], min_length=2)
    gate: bool = False


def build(config: Config, world: AnyWorld, task: Task, model: Model, members: Sequence[Program] = ()) -> Program:
    """members: their programs, with stages of different names."""
    if config.init_from:
        raise TransferError("method=ensemble has models of several methods, and init_from one; leave one of them out")
    gates = config.method.gate
    if gates and config.task.name == "classification":
        raise TransferError("method.gate=true knows readers by their histories, and examples have none; leave it out")
    if not gates and (given := [name for name in gate.TRAITS if config.hp[f"gate_{name}"]]):
        raise TransferError(f"hp.gate_{given[0]} has no effect without a gate; write method.gate=true")

    def scores(world: AnyWorld, done: Done, hp: Hp) -> Scores:
        weights = jnp.stack([hp.get(f"weight_{i}", hp["weight"]) for i in range(1, len(members) + 1)])
        shares = weights / jnp.sum(weights)
        parts = [member.scores(world, done, hp) for member in members]
        if not gates:
            return mixture_scores(parts, shares, config.task.name, world)
        z, slopes = gate.traits(world), gate.slopes_of(hp)
        return mixture_scores(parts, shares, config.task.name, world, lambda users: gate.tilted(shares, slopes, z(users)))

    stages = [stage for member in members for stage in member.stages]
    return Program(tuple(stages), scores, folds_in=all(member.folds_in for member in members))

"""Shared user factors, trained on all domains together: L = L_target + hp.source_weight · mean over sources of w_d L_d.

w_d is 1, or hp.source_weight_1, hp.source_weight_2, … where they are given: a source of weight 0 moves no user.
With method.borrow=10 new and rare items take the mean of the ten, of all domains, that are nearest by their features
(`transfer.learning.borrowing`).

With method.adaptive=true each source has a weight of its own, moved while it trains by the harm that it is measured to do
(`learning.adaptive`): L = L_target + hp.source_weight · Σ_d λ_d L_d / max(1, Σ_d λ_d).

Paper: Singh, Gordon (2008), collective matrix factorisation.
"""

from __future__ import annotations

from typing import Any

import jax

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.learning import borrowing
from transfer.learning.adaptive import TEMPERATURE, Adapts, Joint, adaptive, check, shares
from transfer.learning.supervised import LEARNER_HP, supervised
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Task, stream, target_data
from transfer.solvers.joint import Weights, source_weight

NEEDS = Needs(source=True, shared_users=True)
JOINT_HP = {**LEARNER_HP, "source_weight": Range(1.0, low=0, by_source=True)}
HP = {**JOINT_HP, "temperature": TEMPERATURE}


class Settings(borrowing.Borrows, Adapts):
    """Settings of a joint fit."""


def joint(config: Config, task: Task, model: Model) -> Joint:
    """The fit of all domains together: {"body", "head", "sources": [heads]} on batches [target, *sources]."""
    size = config.train.batch_size
    alone = supervised("joint", task, model, size, data=target_data, heldout=lambda world: world.valid)

    def init(world: World, done: Done, key: jax.Array) -> Params:
        heads = [model.head(stream(key, "source", i), side.train) for i, side in enumerate(world.sources)]
        return {**alone.init(world, done, key), "sources": heads}

    def batch(world: World, done: Done, key: jax.Array) -> list:
        sources = [task.batch(side.train, stream(key, "source", i), size) for i, side in enumerate(world.sources)]
        return [alone.batch(world, done, key), *sources]

    def weighed(params: Params, done: Done, batches: list, weights: Weights, *rest: Any) -> jax.Array:
        heads = [params["head"], *params["sources"]]
        target, *sources = [
            alone.loss({"body": params["body"], "head": head}, done, batch, *rest)
            for head, batch in zip(heads, batches, strict=True)
        ]
        return sum((weight * loss for weight, loss in zip(weights, sources, strict=True)), target)

    def loss(params: Params, done: Done, batches: list, hp: Hp, *rest: Any) -> jax.Array:
        count = len(params["sources"])
        weights = [source_weight(hp, i) / count for i in range(1, count + 1)]
        return weighed(params, done, batches, weights, hp, *rest)

    def moved(params: Params, done: Done, batches: list, weights: jax.Array, hp: Hp, *rest: Any) -> jax.Array:
        return weighed(params, done, batches, list(hp["source_weight"] * shares(weights)), hp, *rest)

    return Joint(
        alone._replace(init=init, batch=batch, loss=loss),
        loss=moved,
        scores=lambda world, done, weights, hp: alone.scores(world, done, hp),
        params_of=lambda params, which: {**params, "sources": [params["sources"][d] for d in which]},
        batch_of=lambda batches, which: [batches[0], *(batches[1 + d] for d in which)],
    )


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    check(config)
    of_all = joint(config, task, model)
    fit = adaptive(of_all, task, len(world.sources)) if config.method.adaptive else of_all.fit
    fit = borrowing.borrowing(config, world, fit)
    return Program((fit,), fit.scores)

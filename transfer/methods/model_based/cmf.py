"""Shared user factors, trained on all domains together: L = L_target + hp.source_weight · mean over sources of w_d L_d.

w_d is 1, or hp.source_weight_1, hp.source_weight_2, … where they are given: a source of weight 0 moves no user.
With method.borrow=10 new and rare items take the mean of the ten, of all domains, that are nearest by their features
(`transfer.learning.borrowing`).

With method.adaptive=true each source has a weight of its own, moved while it trains by the harm that it is measured to do
(`learning.adaptive`): L = L_target + hp.source_weight · Σ_d λ_d L_d / max(1, Σ_d λ_d).

Paper: Singh, Gordon (2008), collective matrix factorisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.learning import borrowing
from transfer.learning.adaptive import TEMPERATURE, adaptive
from transfer.learning.supervised import LEARNER_HP, supervised
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Range, Task, stream, target_data
from transfer.solvers.joint import source_weight

NEEDS = Needs(source=True, shared_users=True)
JOINT_HP = {**LEARNER_HP, "source_weight": Range(1.0, low=0, by_source=True)}
HP = {**JOINT_HP, "temperature": TEMPERATURE}


class Settings(borrowing.Borrows):
    adaptive: bool = False


def joint(config: Config, task: Task, model: Model) -> tuple[Fit, Callable[..., list[jax.Array]]]:
    """The fit of all domains together, {"body", "head", "sources": [heads]} of batches [target, *sources], and the losses
    of those whose heads are there."""
    size = config.train.batch_size
    alone = supervised("joint", task, model, size, data=target_data, heldout=lambda world: world.valid)

    def init(world: World, done: Done, key: jax.Array) -> Params:
        heads = [model.head(stream(key, "source", i), side.train) for i, side in enumerate(world.sources)]
        return {**alone.init(world, done, key), "sources": heads}

    def batch(world: World, done: Done, key: jax.Array) -> list:
        sources = [task.batch(side.train, stream(key, "source", i), size) for i, side in enumerate(world.sources)]
        return [alone.batch(world, done, key), *sources]

    def losses(params: Params, done: Done, batches: list, *rest: Any) -> list[jax.Array]:
        heads = [params["head"], *params["sources"]]
        return [
            alone.loss({"body": params["body"], "head": head}, done, batch, *rest)
            for head, batch in zip(heads, batches, strict=True)
        ]

    def loss(params: Params, done: Done, batches: list, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        target, *sources = losses(params, done, batches, hp, key, progress)
        weighed = [source_weight(hp, i) * loss for i, loss in enumerate(sources, start=1)]
        return target + sum(weighed) / len(weighed)

    return alone._replace(init=init, batch=batch, loss=loss), losses


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    if not config.method.adaptive and config.hp["temperature"] != TEMPERATURE.default:
        raise TransferError("hp.temperature has no effect where no weight of a source moves; write method.adaptive=true")
    if config.method.adaptive and (given := [name for name in config.hp if name.startswith("source_weight_")]):
        raise TransferError(f"hp.{given[0]} has no effect where weights move: leave out that, or method.adaptive")
    fit, losses = joint(config, task, model)
    if config.method.adaptive:
        fit = adaptive(fit, losses, task, len(world.sources))
    fit = borrowing.borrowing(config, world, fit)
    return Program((fit,), fit.scores)

"""No transfer: the model trained on the target alone. Every transfer method is measured against it."""

from __future__ import annotations

from transfer.config import Config
from transfer.data.world import World
from transfer.program import Model, Needs, Program, Task, supervised, target

NEEDS = Needs()


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    fit = supervised(
        "target",
        task,
        model,
        config.train.batch_size,
        side=target,
        events=lambda world: world.target.train,
        heldout=lambda world: world.valid,
    )
    return Program((fit,), fit.scores)

"""Pre-train on the source, carry the user representation over, continue on the target.

With method.freeze=users the carried representation stays as it is and only the target's head learns: users without
target events then stay comparable with those who have them.
"""

from __future__ import annotations

from typing import Literal

import jax

from transfer import config
from transfer.config import Config
from transfer.data.world import World
from transfer.program import Model, Needs, Params, Program, Task, first_source, supervised, target

NEEDS = Needs(source=True, shared_users=True)


class Settings(config.Method):
    freeze: Literal["none", "users"]


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size = config.train.batch_size
    source = supervised(
        "source",
        task,
        model,
        size,
        side=first_source,
        events=lambda world: world.sources[0].fit,
        heldout=lambda world: world.sources[0].stop,
    )

    def frozen(params: Params) -> Params:
        return {name: jax.tree.map(lambda _, name=name: name == "body", part) for name, part in params.items()}

    fit = supervised(
        "target",
        task,
        model,
        size,
        side=target,
        events=lambda world: world.target.train,
        heldout=lambda world: world.valid,
        body=lambda world, done, key: done["source"]["body"],
        frozen=frozen if config.method.freeze == "users" else None,
    )
    return Program((source, fit), fit.scores)

"""Pre-train on the source, carry the user representation over, continue on the target.

With method.freeze=users the carried representation stays as it is and only the target's head learns: users without
target events then stay comparable with those who have them. For classification the body of the model is carried over, and
the source may have labels of its own: first Σ_s loss is minimised, then Σ_t loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax

from transfer import config
from transfer.adapt import labelled, supervised_examples
from transfer.config import Config
from transfer.data.examples import ExamplesWorld, Inputs
from transfer.program import (
    AnyWorld,
    Classifier,
    Done,
    Hp,
    Model,
    Needs,
    Params,
    Program,
    Task,
    first_source,
    supervised,
    target,
)

NEEDS = Needs(
    tasks=("rating", "ranking", "classification"), source=True, shared_users=True, target_labels=True, representation=True
)


class Settings(config.Method):
    freeze: Literal["none", "users", "body"]


def build(config: Config, world: AnyWorld, task: Task, model: Model | Classifier) -> Program:
    size = config.train.batch_size
    if isinstance(model, Classifier):
        return _examples(config, task, model, size)
    source = supervised(
        "source",
        task,
        model,
        size,
        side=first_source,
        events=lambda world: world.sources[0].fit,
        heldout=lambda world: world.sources[0].stop,
    )

    fit = supervised(
        "target",
        task,
        model,
        size,
        side=target,
        events=lambda world: world.target.train,
        heldout=lambda world: world.valid,
        body=lambda world, done, key: done["source"]["body"],
        frozen=_body if config.method.freeze != "none" else None,
    )
    return Program((source, fit), fit.scores)


def _examples(config: Config, task: Task, model: Classifier, size: int) -> Program:
    source = supervised_examples(
        "source",
        task,
        model,
        size,
        examples=lambda world: world.sources[0].train,
        heldout=lambda world: world.sources[0].stop,
    )
    fit = supervised_examples(
        "target",
        task,
        model,
        size,
        examples=labelled,
        heldout=lambda world: world.valid,
        body=lambda world, done, key: done["source"]["body"],
        frozen=_body if config.method.freeze != "none" else None,
    )

    def features(world: ExamplesWorld, done: Done, hp: Hp) -> Callable[[Inputs], jax.Array]:
        return lambda inputs: model.features(done["target"]["body"], inputs.x)

    return Program((source, fit), fit.scores, features=features)


def _body(params: Params) -> Params:
    """True for the leaves of the body: they do not train."""
    return {name: jax.tree.map(lambda _, name=name: name == "body", part) for name, part in params.items()}

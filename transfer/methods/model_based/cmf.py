"""Shared user factors, trained on both domains together: L = L_target + hp.source_weight · mean over sources of L_source.

Collective matrix factorisation (Singh & Gordon 2008).
"""

from __future__ import annotations

import jax

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.learning.supervised import supervised
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Task, stream, target_data

NEEDS = Needs(source=True, shared_users=True)


def joint(config: Config, task: Task, model: Model) -> Fit:
    """The fit of all domains together: {"body", "head", "sources": [heads]}, of batches [target, *sources]."""
    size = config.train.batch_size
    alone = supervised("joint", task, model, size, data=target_data, heldout=lambda world: world.valid)

    def init(world: World, done: Done, key: jax.Array) -> Params:
        heads = [model.head(stream(key, "source", i), side.train) for i, side in enumerate(world.sources)]
        return {**alone.init(world, done, key), "sources": heads}

    def batch(world: World, done: Done, key: jax.Array) -> list:
        sources = [task.batch(side.train, stream(key, "source", i), size) for i, side in enumerate(world.sources)]
        return [alone.batch(world, done, key), *sources]

    def loss(params: Params, done: Done, batches: list, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        heads = [params["head"], *params["sources"]]
        losses = [
            alone.loss({"body": params["body"], "head": head}, done, batch, hp, key, progress)
            for head, batch in zip(heads, batches, strict=True)
        ]
        return losses[0] + hp["source_weight"] * sum(losses[1:]) / len(losses[1:])

    return alone._replace(init=init, batch=batch, loss=loss)


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    fit = joint(config, task, model)
    return Program((fit,), fit.scores)

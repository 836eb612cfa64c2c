"""Maximum classifier discrepancy: two classifiers look for target examples on which they differ; z makes them agree there.

Three updates of every batch, each with moments of its own: A min_z,f,f' loss(f) + loss(f'); B min_f,f' loss(f) + loss(f') -
d; C min_z d, method.steps times; d = E_t mean_c |p_c - p'_c|. Updates B and C are w r of a full one, w = hp.weight,
r = 2 / (1 + exp(-hp.gamma · progress)) - 1, and so is what z gets of loss(f') in A: with weight 0 f alone teaches z.

Paper: Saito, Watanabe, Ushiku, Harada (2018), MCD.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning.adaptation import adapted
from transfer.learning.discriminator import apply, init, reverse
from transfer.learning.game import Game, View, ramp
from transfer.program import Classifier, Hp, Needs, Params, Program, Task, Turn

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True, representation=True)


class Settings(Method):
    width: int = Field(ge=1)
    depth: int = Field(ge=0)
    steps: int = Field(ge=1)


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    method = config.method

    def source_loss(logits: jax.Array, source: View) -> jax.Array:
        assert source.y is not None
        return jnp.mean(task.loss(logits, Examples(source.x, source.y, world.multi_label)))

    def discrepancy(own: Params, view: View) -> jax.Array:
        p = [
            jax.nn.sigmoid(logits) if world.multi_label else jax.nn.softmax(logits, axis=1)
            for logits in (view.logits, apply(own, view.z))
        ]
        return jnp.mean(jnp.abs(p[0] - p[1]))

    def second(own: Params, source: View, target: View, weight: jax.Array, hp: Hp, key: jax.Array) -> jax.Array:
        return source_loss(apply(own, reverse(source.z, -weight)), source)

    def differ(own: Params, source: View, target: View, weight: jax.Array, hp: Hp, key: jax.Array) -> jax.Array:
        return source_loss(source.logits, source) + source_loss(apply(own, source.z), source) - discrepancy(own, target)

    def agree(own: Params, source: View, target: View, weight: jax.Array, hp: Hp, key: jax.Array) -> jax.Array:
        return discrepancy(own, target)

    def rate(hp: Hp, progress: jax.Array) -> jax.Array:
        return hp["weight"] * ramp(progress, hp["gamma"])

    game = Game(
        init=lambda key, width, classes: init(key, width, method.width, method.depth, classes),
        loss=second,
        watch=lambda own, source, target, hp: {
            "discrepancy_source": discrepancy(own, source),
            "discrepancy_target": discrepancy(own, target),
        },
        turns=(Turn(differ, ("heads", "game"), rate=rate), Turn(agree, ("body",), method.steps, rate)),
    )
    return adapted(config, world, task, model, game)

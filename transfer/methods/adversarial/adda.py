"""Adversarial discriminative adaptation: a source network first, then an encoder of the target that starts from its body.

Stage 2, with the source's z and the classifier fixed: min_D ½ [E_s -log D(z) + E_t -log (1 - D(z_t))] and
min_z_t w · E_t -log D(z_t): labels are inverted, no gradient is reversed; w = hp.weight. The target's encoder learns with
hp.target_rate times the learning rate, D with hp.discriminator_rate. Target examples go through their own encoder.

Paper: Tzeng, Hoffman, Saenko, Darrell (2017), ADDA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld, Inputs, evenly_spaced
from transfer.errors import TransferError
from transfer.learning import adaptation, discriminator
from transfer.learning.adaptation import adapted, logits_by_head
from transfer.learning.discriminator import apply, between, domain_accuracy, domain_loss, slopes
from transfer.learning.source_mixture import SourceLogits, learn_shares, mixture_logits
from transfer.learning.supervised import rates_without_fixed, squares
from transfer.program import (
    OPTIMIZERS,
    Classifier,
    Done,
    Fit,
    Hp,
    Needs,
    Params,
    Program,
    Range,
    Rate,
    Scores,
    Solve,
    Task,
    Turn,
    stream,
)

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True, representation=True)
HP = {
    **adaptation.HP,
    **adaptation.MOMENTUM,
    **discriminator.HP,
    "weight": Range(1.0, low=0),
    "target_rate": Range(0.3, low=0),  # of the target's encoder, in learning rates
}
DEFAULTS = {
    "model": "mlp",
    "train": {"keep": "last"},
}  # a representation that learns; labels of the source do not see how the target fares


class Settings(discriminator.Settings):
    pass


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    method, size = config.method, config.train.batch_size
    spectral = method.lipschitz == "spectral"
    if config.train.keep == "best" and world.labelled is None:
        raise TransferError(
            "train.keep=best selects nothing with method=adda where no target example is labelled: its second stage leaves "
            "the source's scores alone; write train.keep=last"
        )
    before = adapted(config, world, task, model)

    def logits(game: Params, z: jax.Array) -> jax.Array:
        return apply(game, z, spectral)[:, 0]

    def init(world: ExamplesWorld, done: Done, key: jax.Array) -> Params:
        body = done["network"]["body"]
        width = jax.eval_shape(model.features, body, world.unlabelled[:1]).shape[1]
        return {"body": body, "game": discriminator.init(key, width, method.width, method.depth, silent=not spectral)}

    def batch(world: ExamplesWorld, done: Done, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z of `size` source examples, of all sources alike, and x of as many of the target."""
        dense = [replace(side.train, sparse=None) for side in world.sources]  # one batch is put together from all
        xs = [task.batch(examples, stream(key, "source", i), size).x for i, examples in enumerate(dense)]
        which = jax.random.randint(stream(key, "which"), (size,), 0, len(xs))
        x = jnp.stack(xs)[which, jnp.arange(size)]
        rows = jax.random.randint(stream(key, "target"), (size,), 0, world.unlabelled.shape[0])
        return model.features(done["network"]["body"], x), world.unlabelled[rows]

    def discriminate(params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        here, there = batch[0], jax.lax.stop_gradient(model.features(params["body"], batch[1]))
        value = domain_loss(logits(params["game"], here), logits(params["game"], there), hp["smoothing"])
        if method.lipschitz == "gradient":
            on = between(here, there, key)
            value += hp["gradient_penalty"] * jnp.mean(slopes(partial(logits, params["game"]), on))
        return value + hp["l2"] / 2 * squares(params["game"])

    def loss(params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        fooled = logits(jax.lax.stop_gradient(params["game"]), model.features(params["body"], batch[1]))
        return discriminate(params, done, batch, hp, key, progress) + hp["weight"] * jnp.mean(jax.nn.softplus(-fooled))

    def features(world: ExamplesWorld, done: Done, hp: Hp) -> Callable[[Inputs], jax.Array]:
        def represent(inputs: Inputs) -> jax.Array:
            source, target = (model.features(done[stage]["body"], inputs.x) for stage in ("network", "target"))
            return jnp.where((inputs.domain == 0)[:, None], target, source)

        return represent

    def source_logits(world: ExamplesWorld, done: Done, hp: Hp) -> SourceLogits:
        return logits_by_head(model, done["network"]["heads"], features(world, done, hp))

    def scores(world: ExamplesWorld, done: Done, hp: Hp) -> Scores:
        return mixture_logits(world, done, source_logits(world, done, hp))

    def watch(world: ExamplesWorld, done: Done, hp: Hp) -> dict[str, jax.Array]:
        x = jnp.concatenate([evenly_spaced(side.train.x) for side in world.sources])
        here, there = (
            logits(done["target"]["game"], model.features(done[stage]["body"], x))
            for stage, x in (("network", x), ("target", evenly_spaced(world.unlabelled)))
        )
        return {"domain_loss": domain_loss(here, there, jnp.float32(0.0)), "domain_accuracy": domain_accuracy(here, there)}

    def rates(params: Params) -> Any:
        names = {"body": "target_rate", "game": "discriminator_rate"}
        return {key: jax.tree.map(lambda _, key=key: Rate(by=names[key]), part) for key, part in params.items()}

    adapt = Fit(
        "target",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.unlabelled.shape[0],
        scores=lambda world, done, hp: scores(world, {"mix": None, **done}, hp),
        rates=rates_without_fixed(model, rates),
        optimizer=OPTIMIZERS[method.optimizer],
        turns=(Turn(discriminate, ("game",), method.steps - 1),) if method.steps > 1 else (),
        watch=watch,
    )
    several = (Solve("mix", partial(learn_shares, source_logits)),) if len(world.sources) > 1 else ()
    return Program((before.stages[0], adapt, *several), scores, features=features)

"""Adapt a network to a domain without labels: one body, a head for each source, and a penalty or game that unites them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from transfer.config.declared import L2, RATE
from transfer.config.schema import Config, Method
from transfer.data.examples.world import Examples, ExamplesWorld, Inputs, evenly_spaced
from transfer.learning.game import Game, View, ramped, rates, terms, with_updates
from transfer.learning.source_mixture import Each, mix, mixed
from transfer.learning.supervised import rates_without_fixed, squares
from transfer.program import OPTIMIZERS, Classifier, Done, Fit, Hp, Params, Program, Range, Solve, Task, stream

HP = {"learning_rate": RATE, "l2": L2, "target_weight": Range(1.0, low=0)}
MOMENTUM = {"momentum": Range(0.9, low=0, high=1, below=True)}  # with method.optimizer=sgd


class Descent(Method):
    """How a network learns. passes: source examples come in passes, each once, and are not drawn with replacement."""

    optimizer: Literal["adam", "sgd"] = "adam"
    passes: bool = False


def adapted(
    config: Config,
    world: ExamplesWorld,
    task: Task,
    model: Classifier,
    penalty: Callable[[View, View, Hp], jax.Array] | Game | None = None,
    normalise: bool = False,
) -> Program:
    """Fit one representation to the labelled sources, a head for each, and let a penalty or a game unite the domains.

    min mean_i [loss(source i) + hp.weight · r · penalty(source i, target)] + hp.target_weight · loss(labelled target), with
    r = 2 / (1 + exp(-hp.gamma · progress)) - 1 (Ganin, Lempitsky 2015). None: no penalty. With `normalise`, representations
    are standardised by domain: by the batch in training, by all of the domain's examples later.
    """
    size, count = config.train.batch_size, len(world.sources)
    game = penalty if isinstance(penalty, Game) else None

    def init(world: ExamplesWorld, done: Done, key: jax.Array) -> Params:
        body = model.body(stream(key, "body"), world.unlabelled.shape[1:], world.pretrained)
        body = model.adapt(body, world.unlabelled) if model.adapt else body
        width = jax.eval_shape(model.features, body, world.unlabelled[:1]).shape[1]
        several = 1 if game and game.one_head else count
        heads = [model.head(stream(key, "head", i), width, world.n_classes) for i in range(several)]
        own = [game.init(stream(key, "game", i), width, world.n_classes) for i in range(count)] if game else None
        return {"body": body, "heads": heads, **({"game": own} if game else {})}

    def batch(world: ExamplesWorld, done: Done, key: jax.Array) -> Any:
        sources = [task.batch(side.train, stream(key, "source", i), size) for i, side in enumerate(world.sources)]
        few = task.batch(world.labelled, stream(key, "few"), size) if world.labelled is not None else None
        rows = jax.random.randint(stream(key, "target"), (size,), 0, world.unlabelled.shape[0])
        return sources, few, world.unlabelled[rows]

    def batch_at(world: ExamplesWorld, done: Done, key: jax.Array, step: jax.Array) -> Any:
        _, few, x = batch(world, done, stream(key, "step", step))
        sources = [in_order(side.train, stream(key, "order", i), step, size) for i, side in enumerate(world.sources)]
        return sources, few, x

    def represent(body: Params, x: jax.Array) -> jax.Array:
        z = model.features(body, x)
        return _standard(z, jnp.mean(z, axis=0), jnp.std(z, axis=0)) if normalise else z

    def heads_of(params: Params) -> list[Params]:
        """One for each source."""
        return params["heads"] * (count // len(params["heads"]))

    def views(params: Params, batch: Any) -> list[tuple[View, View]]:
        sources, _, x = batch
        there = represent(params["body"], x)
        both = []
        for examples, head in zip(sources, heads_of(params), strict=True):
            z = represent(params["body"], examples.x)
            source = View(examples.x, z, model.logits(head, z), examples.y)
            both.append((source, View(x, there, model.logits(head, there), None)))
        return both

    def loss(params: Params, batch: Any, key: jax.Array, hp: Hp, progress: jax.Array) -> jax.Array:
        sources, few, _ = batch
        pairs = views(params, batch)
        here = represent(params["body"], few.x) if few is not None else None
        losses = [jnp.mean(task.loss(source.logits, of)) for (source, _), of in zip(pairs, sources, strict=True)]
        total = jnp.float32(0.0)
        if game:
            weights = [ramped(hp, progress)] * count
            if game.shares and count > 1:
                now = jnp.stack(terms(game.loss, params, pairs, weights, hp, key))
                shares = game.shares(jax.lax.stop_gradient(jnp.stack(losses)), jax.lax.stop_gradient(now), weights[0], hp)
                weights = [weight * share for weight, share in zip(weights, shares, strict=True)]
                losses = [value * share for value, share in zip(losses, shares, strict=True)]
            added = terms(game.loss, params, pairs, weights, hp, key)
        elif penalty:
            weight = ramped(hp, progress)
            added = [weight * penalty(source, target, hp) for source, target in pairs]  # type: ignore[operator]
        else:
            added = [jnp.float32(0.0)] * count
        for value, more, head in zip(losses, added, heads_of(params), strict=True):
            total += value + more
            if here is not None:
                total += hp["target_weight"] * jnp.mean(task.loss(model.logits(head, here), few))
        return total / count + hp["l2"] / 2 * squares(params)

    def features(world: ExamplesWorld, done: Done, hp: Hp) -> Callable[[Inputs], jax.Array]:
        body = done["network"]["body"]
        if not normalise:
            return lambda inputs: model.features(body, inputs.x)
        domains = [world.unlabelled, *(side.train.x for side in world.sources)]
        moments = [(jnp.mean(z, axis=0), jnp.std(z, axis=0)) for z in (model.features(body, x) for x in domains)]
        mean, std = (jnp.stack(part) for part in zip(*moments, strict=True))
        return lambda inputs: _standard(model.features(body, inputs.x), mean[inputs.domain], std[inputs.domain])

    def each(world: ExamplesWorld, done: Done, hp: Hp) -> Each:
        of, heads = features(world, done, hp), done["network"]["heads"]
        return lambda inputs: [model.logits(head, z) for z in [of(inputs)] for head in heads]

    def watched(world: ExamplesWorld, done: Done) -> Any:
        """Some examples of every source and of the target."""
        sources = [
            Examples(evenly_spaced(side.train.x), evenly_spaced(side.train.y), world.multi_label) for side in world.sources
        ]
        return sources, None, evenly_spaced(world.unlabelled)

    fit = Fit(
        "network",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: max(side.train.x.shape[0] for side in world.sources),
        scores=lambda world, done, hp: mixed(world, {"mix": None, **done}, each(world, done, hp)),
        rates=rates_without_fixed(model, rates if game else None),
        optimizer=OPTIMIZERS[getattr(config.method, "optimizer", "adam")],
        batch_at=batch_at if getattr(config.method, "passes", False) else None,
    )
    fit = with_updates(fit, game, views, watched) if game else fit
    alone = count == 1 or bool(game and game.one_head)
    return Program(
        (fit,) if alone else (fit, Solve("mix", partial(mix, each))),
        lambda world, done, hp: mixed(world, done, each(world, done, hp)),
        features=features,
    )


def in_order(examples: Examples, key: jax.Array, step: jax.Array, size: int) -> Examples:
    """The `size` examples of a step in passes over all of them, each pass in a random order of its own."""
    n = examples.x.shape[0]
    places = step * size + jnp.arange(size)
    first = step * size // n
    numbers = first + jnp.arange(-(-size // n) + 1)
    # argsort of random numbers: one sort, where jax.random.permutation has several
    orders = jax.vmap(lambda number: jnp.argsort(jax.random.bits(jax.random.fold_in(key, number), (n,))))(numbers)
    rows = orders[places // n - first, places % n]
    return Examples(examples.x[rows], examples.y[rows], examples.multi_label)


def labelled(world: ExamplesWorld) -> Examples:
    """The target's labelled examples, for methods whose NEEDS say that there are some."""
    assert world.labelled is not None
    return world.labelled


def _standard(z: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """(z - mean) / std; both [d], or a row for each example."""
    mean, std = jnp.broadcast_to(mean, z.shape), jnp.broadcast_to(std, z.shape)
    return (z - mean) / jnp.sqrt(jnp.square(std) + 1e-5)

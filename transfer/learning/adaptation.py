"""Unsupervised domain adaptation by a network: one body, a head for each source, and a game that unites the domains.

min mean_i [loss(source i) + hp.weight · r · game(source i, target)] + hp.target_weight · loss(labelled target)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from transfer.config.declared import L2, RATE
from transfer.config.schema import Config, Method
from transfer.data.examples.world import Examples, ExamplesWorld, Inputs, evenly_spaced
from transfer.learning.game import Game, View, ramped, rates, terms, with_updates
from transfer.learning.source_mixture import SourceLogits, learn_shares, mixture_logits
from transfer.learning.supervised import rates_without_fixed, squares
from transfer.program import OPTIMIZERS, Classifier, Done, Fit, Hp, Params, Program, Range, Scores, Solve, Task, stream

HP = {"learning_rate": RATE, "l2": L2, "target_weight": Range(1.0, low=0)}
MOMENTUM = {"momentum": Range(0.9, low=0, high=1, below=True)}  # with method.optimizer=sgd


class Descent(Method):
    """How a network learns. passes: source examples come in passes, each once, and are not drawn with replacement."""

    optimizer: Literal["adam", "sgd"] = "adam"
    passes: bool = False


class DomainsBatch(NamedTuple):
    """What a step sees: labelled examples of every source, a few of the target where there are some, x of the target."""

    sources: list[Examples]
    few: Examples | None
    x: jax.Array


@dataclass(frozen=True)
class Network:
    """One body for all domains, a head for each of `count` sources or one for all, and a game's own parameters.

    size: examples of each source, and of the target, in a step. With `normalise`, representations are standardised by
    domain: by the batch in training, by all of the domain's examples later.
    """

    task: Task
    model: Classifier
    game: Game | None
    normalise: bool
    size: int
    count: int

    def init(self, world: ExamplesWorld, done: Done, key: jax.Array) -> Params:
        """{"body", "heads"}, and with a game "game", for each source its own."""
        model, game = self.model, self.game
        body = model.body(stream(key, "body"), world.unlabelled.shape[1:], world.pretrained)
        body = model.adapt(body, world.unlabelled) if model.adapt else body
        width = jax.eval_shape(model.features, body, world.unlabelled[:1]).shape[1]
        n_heads = 1 if game and game.one_head else self.count
        heads = [model.head(stream(key, "head", i), width, world.n_classes) for i in range(n_heads)]
        if game is None:
            return {"body": body, "heads": heads}
        own = [game.init(stream(key, "game", i), width, world.n_classes) for i in range(self.count)]
        return {"body": body, "heads": heads, "game": own}

    def batch(self, world: ExamplesWorld, done: Done, key: jax.Array) -> DomainsBatch:
        """Examples drawn with replacement."""
        draw, size = self.task.batch, self.size
        sources = [draw(side.train, stream(key, "source", i), size) for i, side in enumerate(world.sources)]
        few = draw(world.labelled, stream(key, "few"), size) if world.labelled is not None else None
        rows = jax.random.randint(stream(key, "target"), (size,), 0, world.unlabelled.shape[0])
        return DomainsBatch(sources, few, world.batch(rows))

    def batch_in_passes(self, world: ExamplesWorld, done: Done, key: jax.Array, step: jax.Array) -> DomainsBatch:
        """The same with source examples in passes over all of them."""
        sources = [in_order(side.train, stream(key, "order", i), step, self.size) for i, side in enumerate(world.sources)]
        return self.batch(world, done, stream(key, "step", step))._replace(sources=sources)

    def heads(self, params: Params) -> list[Params]:
        """One for each source."""
        return params["heads"] * (self.count // len(params["heads"]))

    def represent(self, body: Params, x: jax.Array) -> jax.Array:
        """z [B, d] of a batch."""
        z = self.model.features(body, x)
        return _standard(z, jnp.mean(z, axis=0), jnp.std(z, axis=0)) if self.normalise else z

    def views(self, params: Params, batch: DomainsBatch) -> list[tuple[View, View]]:
        """For every source its View and the target's, both through that source's head."""
        logits, z_target, pairs = self.model.logits, self.represent(params["body"], batch.x), []
        for examples, head in zip(batch.sources, self.heads(params), strict=True):
            z = self.represent(params["body"], examples.x)
            source = View(examples.x, z, logits(head, z), examples.y)
            pairs.append((source, View(batch.x, z_target, logits(head, z_target), None)))
        return pairs

    def loss(
        self, params: Params, done: Done, batch: DomainsBatch, hp: Hp, key: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """mean_i [loss(source i) + game_i + hp.target_weight · loss(few)] + hp.l2 / 2 · |W|²."""
        task, few, pairs = self.task, batch.few, self.views(params, batch)
        losses = [
            jnp.mean(task.loss(source.logits, examples)) for (source, _), examples in zip(pairs, batch.sources, strict=True)
        ]
        z_few = self.represent(params["body"], few.x) if few is not None else None
        total = jnp.float32(0.0)
        sources = zip(self._with_game(losses, params, pairs, hp, key, progress), self.heads(params), strict=True)
        for value, head in sources:
            total += value
            if z_few is not None:
                total += hp["target_weight"] * jnp.mean(task.loss(self.model.logits(head, z_few), few))
        return total / self.count + hp["l2"] / 2 * squares(params)

    def _with_game(
        self,
        losses: list[jax.Array],
        params: Params,
        pairs: list[tuple[View, View]],
        hp: Hp,
        key: jax.Array,
        progress: jax.Array,
    ) -> list[jax.Array]:
        """For every source share · [loss + weight · game], weight = hp.weight · ramp."""
        game = self.game
        if game is None:
            return losses
        weight = ramped(hp, progress)
        weights = [weight] * self.count
        if game.shares and self.count > 1:
            values = jnp.stack(terms(game.loss, params, pairs, weights, hp, key))
            shares = game.shares(*jax.lax.stop_gradient((jnp.stack(losses), values)), weight, hp)
            weights = [weight * share for share in shares]
            losses = [value * share for value, share in zip(losses, shares, strict=True)]
        added = terms(game.loss, params, pairs, weights, hp, key)
        return [value + more for value, more in zip(losses, added, strict=True)]

    def features(self, world: ExamplesWorld, done: Done, hp: Hp) -> Callable[[Inputs], jax.Array]:
        """Inputs -> z [B, d], standardised by the moments of their domain where that is wanted."""
        body, features = done["network"]["body"], self.model.features
        if not self.normalise:
            return lambda inputs: features(body, inputs.x)
        domains = [world.unlabelled, *(side.train.x for side in world.sources)]
        moments = [(jnp.mean(z, axis=0), jnp.std(z, axis=0)) for z in (features(body, x) for x in domains)]
        mean, std = (jnp.stack(part) for part in zip(*moments, strict=True))
        return lambda inputs: _standard(features(body, inputs.x), mean[inputs.domain], std[inputs.domain])

    def source_logits(self, world: ExamplesWorld, done: Done, hp: Hp) -> SourceLogits:
        """The logits that each head gives."""
        return logits_by_head(self.model, done["network"]["heads"], self.features(world, done, hp))

    def scores(self, world: ExamplesWorld, done: Done, hp: Hp) -> Scores:
        """Logits of the mixture of the heads."""
        return mixture_logits(world, done, self.source_logits(world, done, hp))

    def watched(self, world: ExamplesWorld, done: Done) -> DomainsBatch:
        """Some examples of every source and of the target, for the figures of a game."""
        sources = [
            Examples(evenly_spaced(side.train.x), evenly_spaced(side.train.y), world.multi_label) for side in world.sources
        ]
        return DomainsBatch(sources, None, evenly_spaced(world.unlabelled))


def adapted(
    config: Config,
    world: ExamplesWorld,
    task: Task,
    model: Classifier,
    game: Game | None = None,
    normalise: bool = False,
) -> Program:
    """Fit one representation to the labelled sources, a head for each, and let a game or penalty unite the domains.

    min mean_i [loss(source i) + hp.weight · r · game(source i, target)] + hp.target_weight · loss(labelled target), with
    r = 2 / (1 + exp(-hp.gamma · progress)) - 1 (Ganin, Lempitsky 2015). None: no game. normalise: as of Network.
    """
    network = Network(task, model, game, normalise, config.train.batch_size, len(world.sources))
    fit = Fit(
        "network",
        init=network.init,
        batch=network.batch,
        loss=network.loss,
        size=lambda world: max(side.train.x.shape[0] for side in world.sources),
        scores=lambda world, done, hp: network.scores(world, {"mix": None, **done}, hp),
        rates=rates_without_fixed(model, rates if game else None),
        optimizer=OPTIMIZERS[getattr(config.method, "optimizer", "adam")],
        batch_at=network.batch_in_passes if getattr(config.method, "passes", False) else None,
    )
    fit = with_updates(fit, game, network.views, network.watched) if game else fit
    single = len(world.sources) == 1 or bool(game and game.one_head)
    stages = (fit,) if single else (fit, Solve("mix", partial(learn_shares, network.source_logits)))
    return Program(stages, network.scores, features=network.features)


def logits_by_head(model: Classifier, heads: list[Params], features: Callable[[Inputs], jax.Array]) -> SourceLogits:
    """Inputs -> the logits that each head gives on one representation."""

    def logits(inputs: Inputs) -> list[jax.Array]:
        z = features(inputs)
        return [model.logits(head, z) for head in heads]

    return logits


def in_order(examples: Examples, key: jax.Array, step: jax.Array, size: int) -> Examples:
    """The `size` examples of a step in passes over all of them, each pass in a random order of its own."""
    n = examples.x.shape[0]
    places = step * size + jnp.arange(size)
    first = step * size // n
    numbers = first + jnp.arange(-(-size // n) + 1)
    # argsort of random numbers: one sort, where jax.random.permutation has several
    orders = jax.vmap(lambda number: jnp.argsort(jax.random.bits(jax.random.fold_in(key, number), (n,))))(numbers)
    rows = orders[places // n - first, places % n]
    return examples.batch(rows)


def labelled(world: ExamplesWorld) -> Examples:
    """The target's labelled examples, for methods whose NEEDS say that there are some."""
    assert world.labelled is not None
    return world.labelled


def _standard(z: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """(z - mean) / std; both [d], or a row for each example."""
    mean, std = jnp.broadcast_to(mean, z.shape), jnp.broadcast_to(std, z.shape)
    return (z - mean) / jnp.sqrt(jnp.square(std) + 1e-5)

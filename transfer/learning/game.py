"""Adversarial games and penalties between a source and the target, min L + hp.weight · r · game: terms and updates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.program import AnyWorld, Done, Fit, Hp, Params, Rate, Turn, stream


class View(NamedTuple):
    """A batch of one domain as the network sees it: x, z [B, d], logits [B, classes], y (None where unlabelled)."""

    x: jax.Array
    z: jax.Array
    logits: jax.Array
    y: jax.Array | None


# (own parameters, source View, target View, weight = hp.weight · ramp, hp, key) -> scalar
Term = Callable[[Params, View, View, jax.Array, Hp, jax.Array], jax.Array]


class Game(NamedTuple):
    """What brings a source and the target together; with parameters of its own it may have, such as a discriminator's.

    init(key, width of z, classes) -> own parameters, for each source;  loss: a Term beside the classifier's loss;
    watch(own, source View, target View, hp) -> {name: value} at every evaluation (None: nothing);  turns: further updates
    in a step, of "body", "heads" or "game", whose losses are Terms;  shares(losses of the classifier [k], of the game [k],
    weight, hp) -> how much each of k sources counts, 1 on average;  one_head: all sources share one classifier.
    """

    init: Callable[[jax.Array, int, int], Params]
    loss: Term
    watch: Callable[[Params, View, View, Hp], dict[str, jax.Array]] | None = None
    turns: tuple[Turn, ...] = ()
    shares: Callable[[jax.Array, jax.Array, jax.Array, Hp], jax.Array] | None = None
    one_head: bool = False


def of_penalty(penalty: Callable[[View, View, Hp], jax.Array]) -> Game:
    """weight · penalty(source View, target View, hp): a game without parameters."""

    def loss(own: Params, source: View, target: View, weight: jax.Array, hp: Hp, key: jax.Array) -> jax.Array:
        return weight * penalty(source, target, hp)

    return Game(init=lambda key, width, classes: {}, loss=loss)


def ramp(progress: jax.Array, gamma: jax.Array) -> jax.Array:
    """2 / (1 + exp(-γ progress)) - 1: from 0 towards 1, so that noise of a young network is not matched."""
    return 2 / (1 + jnp.exp(-gamma * progress)) - 1


# (parameters, batch) -> for every source its View and the target's
Views = Callable[[Params, Any], list[tuple[View, View]]]


def ramped(hp: Hp, progress: jax.Array) -> jax.Array:
    """hp.weight · ramp."""
    return hp["weight"] * ramp(progress, hp["gamma"])


def terms(
    term: Term, params: Params, pairs: list[tuple[View, View]], weights: list[jax.Array], hp: Hp, key: jax.Array
) -> list[jax.Array]:
    """The value of a Term for every source; the parameters of the game are under "game", for each source its own."""
    games = zip(params["game"], pairs, weights, strict=True)
    return [term(own, *pair, weight, hp, stream(key, "game", i)) for i, (own, pair, weight) in enumerate(games)]


def mean_term(
    term: Term, views: Views, params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array
) -> jax.Array:
    """The mean of a Term over the sources, all with the weight hp.weight · ramp."""
    pairs = views(params, batch)
    return sum(terms(term, params, pairs, [ramped(hp, progress)] * len(pairs), hp, key), jnp.float32(0.0)) / len(pairs)


def rates(params: Params) -> Any:
    """The parameters of the game learn with hp.discriminator_rate times the learning rate."""
    by = {"game": "discriminator_rate"}
    return {key: jax.tree.map(lambda _, key=key: Rate(by=by.get(key)), part) for key, part in params.items()}


def with_updates(fit: Fit, game: Game, views: Views, watched: Callable[[AnyWorld, Done], Any]) -> Fit:
    """The fit with the further updates of a game in every step, and its figures at every evaluation.

    watched(world, done) -> the batch that the figures are of; they are means over the sources.
    """

    def watch(world: AnyWorld, done: Done, hp: Hp) -> dict[str, jax.Array]:
        assert game.watch is not None
        params = done[fit.name]
        pairs = zip(params["game"], views(params, watched(world, done)), strict=True)
        rows = [game.watch(own, *pair, hp) for own, pair in pairs]
        return {name: sum(row[name] for row in rows) / jnp.float32(len(rows)) for name in rows[0]}

    turns = tuple(turn._replace(loss=partial(mean_term, turn.loss, views)) for turn in game.turns)
    return fit._replace(turns=turns, watch=watch if game.watch else None)


def with_game(fit: Fit, game: Game, views: Views) -> Fit:
    """The same fit with a game beside its loss: L + mean over sources of game.loss with the weight hp.weight · ramp."""

    def init(world: AnyWorld, done: Done, key: jax.Array) -> Params:
        params = fit.init(world, done, key)
        pairs = jax.eval_shape(lambda: views(params, fit.batch(world, done, key)))
        own = [game.init(stream(key, "game", i), source.z.shape[1], 0) for i, (source, _) in enumerate(pairs)]
        return {**params, "game": own}

    def loss(params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        alone = fit.loss(params, done, batch, hp, key, progress)
        return alone + mean_term(game.loss, views, params, done, batch, hp, key, progress)

    def watched(world: AnyWorld, done: Done) -> Any:
        """The same draw at every evaluation."""
        return fit.batch(world, done, stream(jax.random.key(0), "watch"))

    return with_updates(fit._replace(init=init, loss=loss, rates=rates), game, views, watched)

"""An encoder of source histories, trained on the target's items: p(i | u) ∝ (n_i + 1) exp(b_i + z_u · v_i).

z_u = tanh(Σ_d α_d w_d x̃_ud W_d): x̃ are the histories in each domain d, over the root of their length, with events dropped
at rate hp.dropout (denoising); α weighs the domains and is learnt, w is hp.source_weight for a source, of several times
hp.source_weight_1, hp.source_weight_2, …: with 0 it is not read. The loss is the multinomial likelihood of the reader's
items; n_i counts the training events of item i, which hp.decay, the weight decay, leaves to speak where little is known.
With method.target=true the reader's target history is one more input, hidden in training at a rate drawn per reader: the
loss counts what is hidden, so that readers with no, some and much target history are all served. With
method.variational=true z ~ N(z_u, exp(g)) in training, g learnt, with hp.kl times its divergence from N(0, 1).
With method.adaptive=true w_d moves while it trains, by the harm that source d is measured to do (`learning.adaptive`).
Here from one domain's history to another's items.

Paper: Liang, Krishnan, Hoffman, Jebara (2018), Mult-DAE, Mult-VAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.declared import RATE
from transfer.config.schema import Config
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.learning.adaptive import TEMPERATURE, Adapts, Joint, adaptive, check
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Task, adamw, stream
from transfer.solvers import histories
from transfer.solvers.joint import Weights, source_weights

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
HP = {
    "learning_rate": RATE,
    "dropout": Range(0.3, low=0, high=1, below=True),  # of events
    "decay": Range(3.0, low=0),  # of weights
    "kl": Range(0.2, low=0),
    "source_weight": Range(1.0, low=0, by_source=True),
    "temperature": TEMPERATURE,
}


class Settings(Adapts):
    variational: bool = False  # z drawn from a Gaussian, with hp.kl times its divergence
    target: bool = False  # true: the target's history is an input too, for readers who have one
    rows: int = Field(default=128, ge=1)  # readers per step


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    check(config)
    settings, dim = config.method, config.model.dim
    histories.check_dense(settings.rows, max(side.train.n_items for side in [world.target, *world.sources]), "history_map")

    def inputs(world: World) -> list[Interactions]:
        return [*(side.train for side in world.sources), *([world.target.train] if settings.target else [])]

    def init(world: World, done: Done, key: jax.Array) -> Params:
        def normal(name: str, rows: int, columns: int, scale: float) -> jax.Array:
            return scale * jax.random.normal(stream(key, name), (rows, columns))

        widths = [events.n_items for events in inputs(world)]
        return {
            "encoder": [normal(f"encoder {i}", width, dim, width**-0.5) for i, width in enumerate(widths)],
            "weight": jnp.zeros(len(widths)),
            "spread": jnp.full(dim, -1.0),
            "decoder": normal("decoder", dim, world.n_items, config.model.init),
            "bias": jnp.zeros(world.n_items),
        }

    def encode(params: Params, x: list[jax.Array], sources: Weights) -> jax.Array:
        """f of the histories x [B, items] of each domain -> [B, dim]; of none: 0."""
        if not x:
            return jnp.zeros((1, dim))
        given = [*sources, *([1.0] if settings.target else [])]
        weights = jax.nn.softmax(params["weight"]) * len(x) * jnp.stack([jnp.float32(weight) for weight in given])
        lengths = [jnp.maximum(jnp.sum(rows, axis=1, keepdims=True), 1.0) for rows in x]
        parts = zip(weights, x, lengths, params["encoder"], strict=True)
        return jnp.tanh(sum(weight * (rows / jnp.sqrt(length)) @ matrix for weight, rows, length, matrix in parts))

    def decode(params: Params, z: jax.Array, counts: jax.Array) -> jax.Array:
        return (jnp.log(counts + 1) + params["bias"])[None, :] + z @ params["decoder"]

    def rows(events: Interactions, users: jax.Array) -> jax.Array:
        return histories.rows(events, jnp.ones_like(events.ratings), users)

    def batch(world: World, done: Done, key: jax.Array) -> dict[str, Any]:
        """Readers drawn by their events: the likelihood is that of events, and active readers have more."""
        events = world.target.train
        users = events.users[events.draw(key, settings.rows)]
        sources = [rows(side.train, users) for side in world.sources]
        return {"sources": sources, "target": rows(events, users), "counts": events.item_counts}

    def weighed(params: Params, batch: dict[str, Any], weights: Weights, hp: Hp, key: jax.Array) -> jax.Array:
        told = batch["target"]
        x = [
            jnp.where(jax.random.bernoulli(stream(key, "drop", i), hp["dropout"], part.shape), 0.0, part)
            for i, part in enumerate(batch["sources"])
        ]
        if settings.target:
            rate = jax.random.uniform(stream(key, "rate"), (told.shape[0], 1))
            shown = jnp.where(jax.random.bernoulli(stream(key, "hide"), rate, told.shape), 0.0, told)
            x, told = [*x, shown], told - shown
        z = encode(params, x, weights)
        divergence = jnp.zeros(())
        if settings.variational:
            variance = jnp.exp(params["spread"])[None, :]
            divergence = jnp.mean(0.5 * jnp.sum(variance + z * z - 1 - jnp.log(variance), axis=1))
            z = z + jnp.sqrt(variance) * jax.random.normal(stream(key, "z"), z.shape)
        chance = jax.nn.log_softmax(decode(params, z, batch["counts"]))
        each = jnp.sum(told * chance, axis=1) / jnp.maximum(jnp.sum(told, axis=1), 1.0)
        return hp["kl"] * divergence - jnp.mean(each)

    def scored(world: World, done: Done, weights: Weights) -> Scores:
        params, counts = done["history"], world.target.train.item_counts

        def score(users: jax.Array) -> jax.Array:
            z = encode(params, [rows(events, users) for events in inputs(world)], weights)
            return decode(params, jnp.broadcast_to(z, (users.shape[0], dim)), counts)

        return score

    def loss(params: Params, done: Done, batch: dict[str, Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        return weighed(params, batch, source_weights(world, hp), hp, key)

    def moved(
        params: Params, done: Done, batch: Any, weights: jax.Array, hp: Hp, key: jax.Array, at: jax.Array
    ) -> jax.Array:
        return weighed(params, batch, list(hp["source_weight"] * weights), hp, key)

    def params_of(params: Params, which: Sequence[int]) -> Params:
        there = [*which, *range(len(world.sources), len(params["encoder"]))]
        some = {"encoder": [params["encoder"][d] for d in there], "weight": params["weight"][jnp.array(there, int)]}
        return {**params, **some}

    fit = Fit(
        "history",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=lambda world, done, hp: scored(world, done, source_weights(world, hp)),
        optimizer=lambda hp: adamw(hp["learning_rate"], hp["decay"]),
    )
    if settings.adaptive:
        joint = Joint(
            fit,
            loss=moved,
            scores=lambda world, done, weights, hp: scored(world, done, list(hp["source_weight"] * weights)),
            params_of=params_of,
            batch_of=lambda batch, which: {**batch, "sources": [batch["sources"][d] for d in which]},
        )
        fit = adaptive(joint, task, len(world.sources))
    return Program((fit,), fit.scores, folds_in=True)

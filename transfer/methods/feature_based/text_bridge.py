"""A reader as the texts she liked, films or books, and one map from there to the next: s(u, i) = b_i + q_u · (B t_i + γ_i).

q_u = Σ_j (A t_j + δ_j) / n_u^hp.normalise over the history; t are the vectors of the items' texts.
A and B belong to all domains, the offsets δ, γ and the biases b to one each: what the source teaches about texts holds for
the target, with no user or item in common. Trained on the target and, weighted by hp.source_weight, on every source: hide
a part of a history (hp.dropout) and tell it from the rest, multinomial likelihood. hp.l2 holds the
offsets to zero, so that an item of which little is known is its text.

Paper: Liang, Krishnan, Hoffman, Jebara (2018), the likelihood.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import Side, World
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Scores, Task, stream
from transfer.solvers import histories

NEEDS = Needs(tasks=("ranking",), source=True, texts=True)


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    sides = [world.target, *world.sources]
    rows = max(1, config.train.batch_size // 8)  # histories per step
    widest = max(side.train.n_items for side in sides)
    histories.check_dense(rows, widest, "method=text_bridge")

    def init(world: World, done: Done, key: jax.Array) -> Params:
        assert world.target.text is not None  # NEEDS says so
        dim = world.target.text.shape[1]

        def offsets(side: Side) -> Params:
            zero = jnp.zeros((side.train.n_items, dim))
            return {"bias": jnp.log(side.train.item_counts + 1), "in": zero, "out": zero}

        return {
            "in": jnp.eye(dim),
            "out": jnp.eye(dim) + 0.01 * jax.random.normal(key, (dim, dim)),
            "scale": jnp.zeros(()),
            "domains": [offsets(side) for side in [world.target, *world.sources]],
        }

    def logits(params: Params, own: Params, text: Any, x: jax.Array, hp: Hp) -> jax.Array:
        length = jnp.maximum(jnp.sum(x, axis=1, keepdims=True), 1.0)
        q = (x @ (text @ params["in"] + own["in"])) * length ** -hp["normalise"]
        return own["bias"][None, :] + jnp.exp(params["scale"]) * q @ (text @ params["out"] + own["out"]).T

    def draw(events: Interactions, text: jax.Array | None, key: jax.Array) -> dict[str, Any]:
        users = events.users[events.draw(key, rows)]
        return {"x": histories.rows(events, jnp.ones_like(events.ratings), users), "text": text}

    def batch(world: World, done: Done, key: jax.Array) -> list[dict[str, Any]]:
        return [
            draw(side.train, side.text, stream(key, "histories", i))
            for i, side in enumerate([world.target, *world.sources])
        ]

    def loss(params: Params, done: Done, batches: list[Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        losses, penalty = [], jnp.zeros(())
        for i, (own, part) in enumerate(zip(params["domains"], batches, strict=True)):
            x = part["x"]
            shown = jnp.where(jax.random.bernoulli(stream(key, "hide", i), hp["dropout"], x.shape), 0.0, x)
            chance = jax.nn.log_softmax(jnp.where(shown > 0, -1e9, logits(params, own, part["text"], shown, hp)))
            told = (x - shown) / jnp.maximum(jnp.sum(x - shown, axis=1, keepdims=True), 1.0)
            losses.append(-jnp.mean(jnp.sum(told * chance, axis=1)))
            penalty += sum(jnp.mean(jnp.sum(jnp.square(own[name]), axis=1)) for name in ("in", "out"))
        return losses[0] + hp["source_weight"] * sum(losses[1:]) / len(losses[1:]) + hp["l2"] * penalty

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        params, events, text = done["texts"], world.target.train, world.target.text

        def score(users: jax.Array) -> jax.Array:
            x = histories.rows(events, jnp.ones_like(events.ratings), users)
            return logits(params, params["domains"][0], text, x, hp)

        return score

    fit = Fit(
        "texts",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=scores,
    )
    return Program((fit,), scores)

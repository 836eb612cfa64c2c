"""A linear map from a user's source history to target scores: W = argmin |X_s W - X_t|² + hp.ridge |W|², s(u) = x_s(u) W.

Solved in its dual over the readers whom both domains know in training, W = X_sᵀ (X_s X_sᵀ + hp.ridge I)⁻¹ X_t, with each
history divided by its length to the power hp.normalise; items that few have weigh more by hp.inverse_frequency
(`histories.item_weights`), those of each source by hp.source_weight, of several times hp.source_weight_1, … With
method.sources=learnt these weights are found by leaving readers out (`transfer.learning.source_weights`). For ratings X
holds deviations from μ + b_i + s·d_u, which is added back.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.learning import source_weights as weights
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import biases, histories
from transfer.solvers.joint import source_weights
from transfer.solvers.likeness import readers

NEEDS = Needs(source=True, shared_users=True)
HP = {
    "ridge": Range(10.0, low=0, above=True),
    "normalise": Range(0.5, low=0),  # the power of a history's length
    "inverse_frequency": Range(0.0, low=0),  # the power of what rare items of a source weigh more
    "source_weight": Range(1.0, low=0, by_source=True),
    "damping": Range(10.0, low=0),  # of item biases
    "user_damping": Range(10.0, low=0),
}


class Settings(Method):
    sources: str = Field(default=weights.EQUAL, pattern=weights.HOW)


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    rating = config.task.name == "rating"
    learnt = weights.stages(config, world)
    width = sum(side.train.n_items for side in world.sources)
    histories.check_dense(readers(world).shape[0], max(readers(world).shape[0], width), "method=ridge_map")
    histories.check_dense(width, world.n_items, "method=ridge_map")

    def source_values(events: Interactions, hp: Hp) -> jax.Array:
        weights = histories.item_weights(events, hp["inverse_frequency"])
        return weights * biases.residuals(events, biases.item_biases(events, hp["damping"])) if rating else weights

    def source_rows(world: World, hp: Hp, users: jax.Array) -> jax.Array:
        parts = zip(world.sources, source_weights(world, hp), strict=True)
        blocks = [weight * histories.rows(side.train, source_values(side.train, hp), users) for side, weight in parts]
        lengths = sum(histories.user_counts(side.train)[users] for side in world.sources)
        scale = jnp.maximum(lengths, 1.0) ** -hp["normalise"]
        return jnp.concatenate(blocks, axis=1) * scale[:, None]

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        events, users, hp = world.target.train, readers(world), weights.with_learnt(hp, done)
        trained = histories.user_counts(events).at[users].get(mode="fill", fill_value=0.0) > 0
        there = trained.astype(jnp.float32)[:, None]
        x = source_rows(world, hp, users) * there
        if rating:
            base = biases.source_biases(world, hp)
            y = histories.rows(events, biases.residuals(events, base) - base["user"][events.users], users)
        else:
            popular = events.item_counts / jnp.sum(histories.user_counts(events) > 0).astype(jnp.float32)
            base, y = {"popular": popular}, histories.rows(events, jnp.ones_like(events.ratings), users) - popular[None, :]
        dual = jnp.linalg.solve(x @ x.T + hp["ridge"] * jnp.eye(users.shape[0]), y * there)
        return {"base": base, "weights": x.T @ dual}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        base, matrix, hp = done["map"]["base"], done["map"]["weights"], weights.with_learnt(hp, done)

        def score(users: jax.Array) -> jax.Array:
            start = biases.scores(base, users) if rating else base["popular"][None, :]
            return start + source_rows(world, hp, users) @ matrix

        return score

    return Program((*learnt, Solve("map", solve)), scores, folds_in=not rating)

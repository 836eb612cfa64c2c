"""A linear map from a user's source history to target scores: W = argmin |X_s W - X_t|² + hp.ridge |W|², s(u) = x_s(u) W.

Solved in its dual over the readers whom both domains know in training, W = X_sᵀ (X_s X_sᵀ + hp.ridge I)⁻¹ X_t, with each
history divided by its length to the power hp.normalise. W serves without the readers' data (`transfer export`); one of more
than MAP_CELLS is not built: (X_s X_sᵀ + hp.ridge I)⁻¹, as a Cholesky factor, and X_t stand for it,
s(u) = ((x_s(u) X_sᵀ) (X_s X_sᵀ + hp.ridge I)⁻¹) X_t. Items that few have weigh more by hp.inverse_frequency
(`histories.item_weights`), those of each source by hp.source_weight, of several times hp.source_weight_1, … With
method.sources=learnt these weights are found by leaving readers out (`transfer.learning.source_weights`).
For ratings X holds deviations from μ + b_i + s·d_u, which is added back.
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
from transfer.solvers.products import products

NEEDS = Needs(source=True, shared_users=True)
HP = {
    "ridge": Range(10.0, low=0, above=True),
    "normalise": Range(0.5, low=0),  # the power of a history's length
    "inverse_frequency": Range(0.0, low=0),  # the power of what rare items of a source weigh more
    "source_weight": Range(1.0, low=0, by_source=True),
    "damping": Range(10.0, low=0),  # of item biases
    "user_damping": Range(10.0, low=0),
}


MAP_CELLS = 2**27  # of W, source items x target items, that is built


class Settings(Method):
    sources: str = Field(default=weights.EQUAL, pattern=weights.HOW)


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    rating = config.task.name == "rating"
    learnt = weights.stages(config, world)
    known, width = readers(world).shape[0], sum(side.train.n_items for side in world.sources)
    built = width * world.n_items <= MAP_CELLS
    histories.check_dense(known, max(known, width) if built else known, "method=ridge_map")
    if built:
        histories.check_dense(width, world.n_items, "method=ridge_map")

    def source_values(events: Interactions, hp: Hp) -> jax.Array:
        weights = histories.item_weights(events, hp["inverse_frequency"])
        return weights * biases.residuals(events, biases.item_biases(events, hp["damping"])) if rating else weights

    def source_events(world: World, hp: Hp) -> tuple[Interactions, jax.Array]:
        """Those of all sources, and what each is worth: X_s."""
        sides = [side.train for side in world.sources]
        parts = zip(sides, source_weights(world, hp), strict=True)
        values = histories.joined_values(sides, [weight * source_values(events, hp) for events, weight in parts])
        events = histories.joined(sides)
        scale = jnp.maximum(histories.user_counts(events), 1.0) ** -hp["normalise"]
        return events, values * scale.at[events.users].get(mode="fill", fill_value=0.0)

    def target_values(world: World, hp: Hp) -> tuple[Params, jax.Array]:
        """What is known without the sources, and what each event of the target is beyond that."""
        events = world.target.train
        if rating:
            base = biases.source_biases(world, hp)
            return base, biases.residuals(events, base) - base["user"][events.users]
        popular = events.item_counts / jnp.sum(histories.user_counts(events) > 0).astype(jnp.float32)
        return {"popular": popular}, jnp.ones_like(events.ratings)

    def trained(world: World) -> jax.Array:
        """1 for the readers who have a target history [m, 1]."""
        there = histories.user_counts(world.target.train).at[readers(world)].get(mode="fill", fill_value=0.0) > 0
        return there.astype(jnp.float32)[:, None]

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        users, hp = readers(world), weights.with_learnt(hp, done)
        there, (told, said), (base, values) = trained(world), source_events(world, hp), target_values(world, hp)
        ridge = hp["ridge"] * jnp.eye(users.shape[0])
        if not built:
            alike = there * products(told, said, users)(users)[0] * there.T
            return {"base": base, "factor": jnp.linalg.cholesky(alike + ridge)}
        x = histories.rows(told, said, users) * there
        y = histories.rows(world.target.train, values, users) - (0 if rating else base["popular"][None, :])
        return {"base": base, "weights": x.T @ jnp.linalg.solve(x @ x.T + ridge, y * there)}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        base, hp = done["map"]["base"], weights.with_learnt(hp, done)
        (told, said), of_map = source_events(world, hp), by_items if built else by_readers
        mapped = of_map(world, done["map"], hp, told, said)

        def score(users: jax.Array) -> jax.Array:
            return (biases.scores(base, users) if rating else base["popular"][None, :]) + mapped(users)

        return score

    def by_items(world: World, fitted: Params, hp: Hp, told: Interactions, said: jax.Array) -> Scores:
        return lambda users: histories.rows(told, said, users) @ fitted["weights"]

    def by_readers(world: World, fitted: Params, hp: Hp, told: Interactions, said: jax.Array) -> Scores:
        known, there, values = readers(world), trained(world), target_values(world, hp)[1]
        in_common = products(told, said, known)

        def score(users: jax.Array) -> jax.Array:
            alike = in_common(users)[0] * there.T
            weight = there.T * jax.scipy.linalg.cho_solve((fitted["factor"], True), alike.T).T
            of_all = jnp.zeros((users.shape[0], world.n_users)).at[:, known].add(weight, mode="drop")
            found = histories.times(of_all, world.target.train, values)
            return found if rating else found - jnp.sum(weight, axis=1)[:, None] * fitted["base"]["popular"][None, :]

        return score

    return Program((*learnt, Solve("map", solve)), scores, folds_in=not rating)

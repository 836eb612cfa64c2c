"""Scores as chances: a last stage that fits P(chosen) = sigmoid(a score + b) on validation, and rankings by chance × price.

calibrated:  s' = a s + b                          the log-odds, for task=ctr
by_revenue:  s' = sigmoid(a s + b - log c) price   the expected revenue of showing an item, for method.rank_by=revenue

Of a ranking the events that are not chosen are sampled, SAMPLED for each like; c, how many more a reader's candidates are,
corrects the intercept (King & Zeng 2001). An item without a price counts with the mean of those that have one.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World, at_inference
from transfer.errors import TransferError
from transfer.evaluate.chances import asked, logistic
from transfer.program import Done, Hp, Params, Program, Scores, Solve

STAGE = "chances"
SAMPLED = 20


def check(config: Config, world: World) -> None:
    """Raise TransferError, one line with a remedy, where chances cannot be learnt or prices are not known."""
    revenue = config.method.rank_by == "revenue"
    asked_by = "method.rank_by=revenue" if revenue else f"task={config.task.name}"
    if revenue and config.task.name != "ranking":
        raise TransferError(
            f"method.rank_by=revenue orders lists, and task={config.task.name} has none; write task=ranking"
        )
    if not world.valid.n_events:
        raise TransferError(f"{asked_by} learns chances on the validation part, and it is empty; raise split.valid")
    if revenue and (world.test.catalogue is None or world.test.catalogue.price is None):
        raise TransferError(
            "method.rank_by=revenue needs prices; write domain.target.items.price=COLUMN, or {path: FILE, columns: COLUMN}"
        )
    if not revenue and not config.task.sampled and world.valid.disliked_row is None:
        raise TransferError(f"{asked_by} learns chances on validation, where no dislikes are hidden; write task.sampled=4")


def calibrated(program: Program, sampled: int) -> Program:
    """The program whose scores are log-odds."""

    def learn(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        return _fitted(program, world, done, hp, sampled)

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        plain, numbers = program.scores(world, done, hp), done[STAGE]
        return lambda users: numbers["slope"] * plain(users) + numbers["intercept"]

    return _with(program, learn, scores)


def by_revenue(program: Program) -> Program:
    """The program whose scores are expected revenues; prices are among its parameters, so that a run serves alone."""

    def learn(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        numbers, shelf = _fitted(program, world, done, hp, SAMPLED), world.test.catalogue
        assert shelf is not None
        assert shelf.price is not None
        known = shelf.price > 0
        mean = jnp.sum(shelf.price) / jnp.maximum(jnp.sum(known), 1).astype(jnp.float32)
        likes = world.valid.n_events.astype(jnp.float32) / jnp.maximum(world.valid.n_users, 1).astype(jnp.float32)
        more = jnp.maximum(world.n_items / (SAMPLED * likes), 1.0)
        intercept = numbers["intercept"] - jnp.log(more)
        return {**numbers, "intercept": intercept, "price": jnp.where(known, shelf.price, mean)}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        plain, numbers = program.scores(world, done, hp), done[STAGE]

        def expected(users: Any) -> jax.Array:
            chance = jax.nn.sigmoid(numbers["slope"] * plain(users) + numbers["intercept"])
            return chance * numbers["price"][None, :]

        return expected

    return _with(program, learn, scores)


def _fitted(program: Program, world: World, done: Done, hp: Hp, sampled: int) -> dict[str, jax.Array]:
    events = asked(program.scores(at_inference(world), done, hp), world.valid, sampled)
    slope, intercept = logistic(events.score.reshape(-1), events.chosen.reshape(-1), events.weight.reshape(-1))
    return {"slope": slope, "intercept": intercept}


def _with(program: Program, learn: Any, scores: Any) -> Program:
    return program._replace(stages=(*program.stages, Solve(STAGE, learn)), scores=scores)

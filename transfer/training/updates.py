"""One step of gradient descent: the update of the loss, then that of each turn, with moments of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from transfer.config.schema import Train
from transfer.program import OPTIMIZERS, Done, Fit, Hp, Params, Turn, stream
from transfer.training import rows
from transfer.training.rates import Moving, movers


class Update(NamedTuple):
    """A loss to descend, the leaves that it moves, and of these the tables that move late (None: there are none)."""

    turn: Turn
    moving: Moving
    reads: rows.Reads | None = None


def updates_of(
    stage: Fit, train: Train, done: Done, batch: Callable[[], Any], hp: Hp, key: jax.Array, params: Params
) -> list[Update]:
    """The updates of a step on such a batch.

    Tables move late where one loss moves them, from the first step on, by Adam or momentum: of these it is known how rows
    move without a gradient. The optimizer of a nested stage, such as a guard's, is not one of them: dense.
    """
    turns = (Turn(stage.loss, ()), *stage.turns)
    updates = [Update(turn, moving) for turn, moving in zip(turns, movers(stage, params), strict=True)]
    (own, *others), leaves = updates, updates[0].moving.leaves(params)
    plain = stage.optimizer in OPTIMIZERS.values() and all(rate.since == 0 for rate in own.moving.rates)
    if others or not plain or not rows.long_tables(train, leaves):
        return updates
    loss, rest = partial(_loss, own), (params, done, batch(), hp, key, jnp.float32(0))
    reads = rows.reads_of(train, loss, leaves, *rest)
    return [own._replace(reads=reads if reads.tables else None)]


def moments_before(stage: Fit, train: Train, updates: list[Update], hp: Hp, params: Params) -> list[Any]:
    """The moments of each update before the first step."""
    optimizer = stage.optimizer(hp)
    of_tables = rows.optimizer_of_tables(train, hp) or optimizer
    return [
        rows.moments_before(reads, optimizer, of_tables, moving.leaves(params))
        if reads
        else optimizer.init(moving.leaves(params))
        for _, moving, reads in updates
    ]


def step(
    stage: Fit,
    train: Train,
    total: int,
    updates: list[Update],
    done: Done,
    hp: Hp,
    key: jax.Array,
    carry: tuple[Params, Any],
    drawn: Any,
) -> tuple[tuple[Params, Any], jax.Array]:
    """A step on its batch: each update, `times` times; reports the value of the first loss. total: steps of the budget."""
    (params, moments), (number, batch) = carry, drawn
    optimizer, noise = stage.optimizer(hp), stream(key, f"{stage.name}/noise", number)
    of_tables, progress = rows.optimizer_of_tables(train, hp) or optimizer, number.astype(jnp.float32) / total
    after, values = [], []
    for i, (update, moment) in enumerate(zip(updates, moments, strict=True)):
        turn, own, reads = update
        for n in range(turn.times):
            turn_key = stream(noise, f"turn {i}", n) if i else noise
            rest = (params, done, batch, hp, turn_key, progress)
            if reads:
                leaves, factors = own.leaves(params), own.factors(hp)
                value, moved, moment = rows.late_step(reads, optimizer, of_tables, factors, leaves, moment, rest, number)
            else:
                value, gradient = jax.value_and_grad(partial(_loss, update))(own.leaves(params), *rest)
                changes, moment = optimizer.update(gradient, moment, own.leaves(params))
                scaled = own.scale(changes, hp, progress)
                scaled = [u * turn.rate(hp, progress) for u in scaled] if turn.rate else scaled
                moved = optax.apply_updates(own.leaves(params), scaled)
            params = own.replaced(params, moved)
        after.append(moment)
        values.append(value)
    return (params, after), values[0]


def up_to_date(
    stage: Fit, train: Train, updates: list[Update], hp: Hp, params: Params, moments: list[Any], steps: jax.Array
) -> tuple[Params, list[Any]]:
    """Parameters and moments after so many steps, of the rows too that the last ones did not read."""
    (_, own, reads), *others = updates
    if reads is None:
        return params, moments
    assert not others
    of_tables = rows.optimizer_of_tables(train, hp) or stage.optimizer(hp)
    leaves, moment = rows.up_to_date(reads, of_tables, own.factors(hp), own.leaves(params), moments[0], steps)
    return own.replaced(params, leaves), [moment]


def _loss(update: Update, leaves: list[jax.Array], params: Params, *rest: Any) -> jax.Array:
    """A loss as a function of the leaves that move."""
    loss: Callable[..., jax.Array] = update.turn.loss
    return loss(update.moving.replaced(params, leaves), *rest)

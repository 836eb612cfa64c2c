"""Damped biases of items and users: the closed forms under every rating method."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.program import Hp, Params
from transfer.solvers import histories


def item_biases(events: Interactions, damping: jax.Array) -> Params:
    """μ and b_i = Σ (r - μ) / (n_i + damping): {"mean": scalar, "bias": [items]}."""
    mean = events.mean_rating
    total = jnp.zeros(events.n_items).at[events.items].add(events.ratings - mean)
    return {"mean": mean, "bias": total / (events.item_counts + damping)}


def residuals(events: Interactions, items: Params) -> jax.Array:
    """r - μ - b_i of every event [n]."""
    return events.ratings - items["mean"] - items["bias"][events.items]


def user_deviations(events: Interactions, items: Params, damping: jax.Array) -> jax.Array:
    """d_u = Σ (r - μ - b_i) / (n_u + damping), zero for users without events [users]."""
    total = jnp.zeros(events.n_users).at[events.users].add(residuals(events, items))
    return total / (histories.user_counts(events) + damping)


def source_biases(world: World, hp: Hp) -> Params:
    """Target item biases, the users' damped source deviations d_u, and the least-squares slope s of r - μ - b_i on d_u.

    Several sources count as one: their residuals are pooled. hp.damping damps items, hp.user_damping users.
    """
    events = world.target.train
    items = item_biases(events, hp["damping"])
    total, count = jnp.zeros(world.n_users), jnp.zeros(world.n_users)
    for side in world.sources:
        total += (
            jnp.zeros(world.n_users).at[side.train.users].add(residuals(side.train, item_biases(side.train, hp["damping"])))
        )
        count += histories.user_counts(side.train)
    deviation = total / (count + hp["user_damping"])
    x, y = jnp.where(events.there, deviation[events.users], 0.0), residuals(events, items)
    slope = jnp.sum(x * y) / jnp.maximum(jnp.sum(x * x), 1e-9)
    return {**items, "user": slope * deviation, "slope": slope}


def scores(params: Params, users: jax.Array) -> jax.Array:
    """μ + b_i + s·d_u for all items -> [B, items]."""
    return params["mean"] + params["user"][users][:, None] + params["bias"][None, :]

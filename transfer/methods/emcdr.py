"""Factorise each domain, then learn a map f of user factors on the shared users: min Σ_u |f(z_u^source) - z_u^target|².

f is linear (ridge, hp.ridge, closed form) or a perceptron (method.map=mlp). Users without target events are scored with
f(z^source), the others with their own z^target. Here biases are mapped too.

Paper: Man, Shen, Jin, Cheng (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from transfer import config
from transfer.config import Config
from transfer.data.world import Heldout, Interactions, Side, World
from transfer.models import perceptron
from transfer.models.histories import user_counts
from transfer.program import (
    Done,
    Fit,
    Hp,
    Model,
    Needs,
    Params,
    Program,
    Scores,
    Solve,
    Task,
    adam,
    first_source,
    supervised,
    target,
)

NEEDS = Needs(source=True, shared_users=True)


class Settings(config.Method):
    map: Literal["linear", "mlp"]
    hidden: int


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size, linear = config.train.batch_size, config.method.map == "linear"
    factors = [
        supervised(
            name,
            task,
            model,
            size,
            side=side,
            events=partial(_fit_events, side),
            heldout=partial(_stop_events, side),
        )
        for name, side in (("source", first_source), ("target", target))
    ]

    def mapped(params: Params, z: jax.Array) -> jax.Array:
        return _with_one(z) @ params["matrix"] if linear else perceptron.apply(params, z)

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        own = _has_events(world, "target")

        def of(users: jax.Array) -> jax.Array:
            kept = model.features(done["target"]["body"], users)
            carried = mapped(done["map"], _flat(model.features(done["source"]["body"], users)))
            z = jnp.where(own[users][:, None], _flat(kept), carried)
            return model.scores(done["target"]["head"], _unflat(z, kept))

        return of

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        shared = (_has_events(world, "source") & _has_events(world, "target")).astype(jnp.float32)
        everyone = jnp.arange(world.n_users)
        x = _with_one(_flat(model.features(done["source"]["body"], everyone))) * shared[:, None]
        y = _flat(model.features(done["target"]["body"], everyone)) * shared[:, None]
        return {"matrix": jnp.linalg.solve(x.T @ x + hp["ridge"] * jnp.eye(x.shape[1]), x.T @ y)}

    def init(world: World, done: Done, key: jax.Array) -> Params:
        width = _flat(model.features(done["target"]["body"], jnp.zeros(1, jnp.int32))).shape[1]
        return perceptron.init(key, width, config.method.hidden, width)

    def batch(world: World, done: Done, key: jax.Array) -> dict[str, jax.Array]:
        users = task.batch(world.target.train, key, size).users  # active users count for more: theirs are known better
        features = {name: _flat(model.features(done[name]["body"], users)) for name in ("source", "target")}
        return {**features, "shared": _has_events(world, "source")[users]}

    def loss(params: Params, batch: Any, key: jax.Array, hp: Hp, progress: jax.Array) -> jax.Array:
        error = jnp.sum(jnp.square(mapped(params, batch["source"]) - batch["target"]), axis=1)
        return jnp.mean(jnp.where(batch["shared"], error, 0.0))

    learn = Fit(
        "map",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=scores,
        heldout=lambda world: world.valid,
        optimizer=adam,
    )
    return Program((*factors, Solve("map", solve) if linear else learn), scores)


def _fit_events(side: Callable[[World], Side], world: World) -> Interactions:
    return side(world).fit


def _stop_events(side: Callable[[World], Side], world: World) -> Heldout:
    return side(world).stop


def _has_events(world: World, side: str) -> jax.Array:
    """Users with training events in the target, or in the first source: bool [users]."""
    return user_counts(world.target.train if side == "target" else world.sources[0].train) > 0


def _flat(z: Params) -> jax.Array:
    return jnp.concatenate([z["bias"][:, None], z["factors"]], axis=1)


def _unflat(z: jax.Array, like: Params) -> Params:
    return {"bias": z[:, 0], "factors": z[:, 1:]}


def _with_one(z: jax.Array) -> jax.Array:
    return jnp.concatenate([z, jnp.ones((z.shape[0], 1))], axis=1)

"""Factorise each domain, then learn a map f of user factors on the shared users: min Σ_u |f(z_u^source) - z_u^target|².

f is a closed form (method.map=linear, ridge with hp.ridge, or procrustes) or a perceptron (mlp): `transfer.solvers.maps`.
Users without target events are scored with f(z^source), the others with their own z^target. Here biases are mapped too.

Paper: Man, Shen, Jin, Cheng (2017), EMCDR.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.events import Heldout, Interactions
from transfer.data.interactions.world import Side, World
from transfer.learning.supervised import LEARNER_HP, supervised
from transfer.program import SIDES, Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import maps, perceptron
from transfer.solvers.histories import user_counts

NEEDS = Needs(source=True, shared_users=True)
HP = {**LEARNER_HP, "ridge": Range(3.0, low=0)}


class Settings(Method):
    map: maps.Kind = "ridge"
    hidden: int = Field(default=128, ge=1)  # width of the mlp


def factors(config: Config, task: Task, model: Model) -> tuple[Fit, Fit]:
    """The factors of the first source, and those of the target: done["source"], done["target"]."""
    source, target = (
        supervised(
            name,
            task,
            model,
            config.train.batch_size,
            data=partial(_fit_events, side),
            heldout=partial(_stop_events, side),
        )
        for name, side in SIDES.items()
    )
    return source, target


def stages(config: Config, task: Task, model: Model, kind: maps.Kind) -> tuple[Fit | Solve, ...]:
    """The factors of both domains, then the map of a closed form between them."""

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        shared = (has_events(world, "source") & has_events(world, "target")).astype(jnp.float32)
        everyone = jnp.arange(world.n_users)
        x, y = (flat(model.features(done[name]["body"], everyone)) for name in ("source", "target"))
        return maps.solve(kind, x, y, shared, hp["ridge"])

    return (*factors(config, task, model), *(() if kind == "mlp" else (Solve("map", solve),)))


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size, kind = config.train.batch_size, config.method.map

    def carried(world: World, done: Done, hp: Hp) -> Scores:
        return lambda users: maps.apply(kind, done["map"], flat(model.features(done["source"]["body"], users)))

    def init(world: World, done: Done, key: jax.Array) -> Params:
        width = flat(model.features(done["target"]["body"], jnp.zeros(1, jnp.int32))).shape[1]
        return perceptron.init(key, width, config.method.hidden, width)

    def batch(world: World, done: Done, key: jax.Array) -> dict[str, jax.Array]:
        users = task.batch(world.target.train, key, size).users  # active users count for more: theirs are known better
        features = {name: flat(model.features(done[name]["body"], users)) for name in ("source", "target")}
        return {**features, "shared": has_events(world, "source")[users]}

    def loss(params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        error = jnp.sum(jnp.square(maps.apply(kind, params, batch["source"]) - batch["target"]), axis=1)
        return jnp.mean(jnp.where(batch["shared"], error, 0.0))

    scores = scores_with(model, carried)
    learn = fit_of_map(init=init, batch=batch, loss=loss, scores=scores)
    before = stages(config, task, model, kind)
    return Program((*before, learn) if kind == "mlp" else before, scores)


def scores_with(model: Model, carried: Callable[[World, Done, Hp], Scores]) -> Callable[[World, Done, Hp], Scores]:
    """Users with target events keep their own factors, the others have carried(world, done, hp)(users [B]) [B, 1 + dim]."""

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        trained, others = has_events(world, "target"), carried(world, done, hp)

        def score(users: jax.Array) -> jax.Array:
            own = flat(model.features(done["target"]["body"], users))
            return model.scores(done["target"]["head"], unflat(jnp.where(trained[users][:, None], own, others(users))))

        return score

    return scores


def fit_of_map(**parts: Any) -> Fit:
    """The stage "map", an epoch of which has as many steps as the target's events make. parts: those of `Fit`."""
    return Fit("map", size=lambda world: world.target.train.users.shape[0], **parts)


def _fit_events(side: Callable[[World], Side], world: World) -> Interactions:
    return side(world).fit


def _stop_events(side: Callable[[World], Side], world: World) -> Heldout:
    return side(world).stop


def has_events(world: World, side: str) -> jax.Array:
    """Users with training events in the target, or in the first source: bool [users]."""
    return user_counts(SIDES[side](world).train) > 0


def flat(z: Params) -> jax.Array:
    """Biases and factors side by side: float32 [B, 1 + dim]."""
    return jnp.concatenate([z["bias"][:, None], z["factors"]], axis=1)


def unflat(z: jax.Array) -> Params:
    """The bias and the factors of rows that `flat` laid side by side."""
    return {"bias": z[:, 0], "factors": z[:, 1:]}

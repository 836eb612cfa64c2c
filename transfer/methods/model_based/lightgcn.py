"""Factors spread over the graph of users and items: z = mean of E, ÂE, …, Â^K E, scores z_u · z_i, K = method.layers.

Â = D^-½ A D^-½, where A has an edge for every event of a user with an item and D holds the sums of its rows. The graph has
the target's items and, unless method.domains=target, those of the sources beside them: their edges weigh hp.source_weight,
of several sources times hp.source_weight_1, hp.source_weight_2, …, and so does their loss, L = L_target + mean over sources
of hp.source_weight · L_source. Items have the factors E that are learnt. Users have none, unlike in the paper: they are
what reaches them from their items, so that new ones have scores.

Paper: He, Deng, Wang, Li, Zhang, Wang (2020), LightGCN.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.program import Batch, Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task, stream
from transfer.solvers.joint import Edges, joint_columns, joint_edges, joint_rows, source_weights
from transfer.solvers.spectra import positive_power

NEEDS = Needs(tasks=("ranking",))
HP = {"learning_rate": Range(0.05, low=0), "l2": Range(0.001, low=0), "source_weight": Range(1.0, low=0, by_source=True)}


class Settings(Method):
    domains: Literal["both", "target"] = "both"
    layers: int = Field(default=2, ge=1)


class Drawn(NamedTuple):
    """What a step sees: of every domain, target first, a batch and the columns of its items; the graph, all edges alike."""

    batches: list[Batch]
    columns: list[jax.Array]
    edges: Edges


class Spread(NamedTuple):
    """z of users and items, and what an edge hands to a user: the mean's part D^-½ (E + Â²E + …) [columns, dim]."""

    users: jax.Array
    items: jax.Array
    handed: jax.Array


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    both, layers, size = config.method.domains == "both", config.method.layers, config.train.batch_size
    sides = [world.target, *(world.sources if both else ())]
    sizes, readers = [side.train.users.shape[0] for side in sides], world.n_users

    def strengths(hp: Hp) -> jax.Array:
        """How much each domain weighs [domains]."""
        return jnp.stack([jnp.float32(1.0), *source_weights(world, hp)])[: len(sides)]

    def init(world: World, done: Done, key: jax.Array) -> Params:
        shapes = [(side.train.n_items, config.model.dim) for side in sides]
        drawn = [jax.random.normal(stream(key, "items", i), shape) for i, shape in enumerate(shapes)]
        return {"items": config.model.init * jnp.concatenate(drawn)}

    def batch(world: World, done: Done, key: jax.Array) -> Drawn:
        sources = [side.train for side in world.sources if both]
        drawn = [task.batch(events, stream(key, "source", i), size) for i, events in enumerate(sources)]
        batches = [task.batch(world.target.train, key, size), *drawn]
        return Drawn(batches, joint_columns(world, both), joint_edges(world, both, [1.0 for _ in sources]))

    def loss(params: Params, done: Done, drawn: Drawn, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        of_events = jnp.repeat(strengths(hp), jnp.array(sizes), total_repeat_length=sum(sizes))
        weighed = drawn.edges._replace(weights=drawn.edges.weights * of_events)
        z = spread(params["items"], weighed, readers, layers)

        def of_domain(batch: Batch, columns: jax.Array) -> jax.Array:
            users, chosen = z.users[batch.users], columns[batch.items]
            outputs = jnp.einsum("bd,bkd->bk", users, z.items[chosen])
            if task.every_item:
                outputs = jnp.concatenate([outputs, users @ z.items[columns].T], axis=1)
            prior = jnp.sum(batch.item_weights * jnp.sum(jnp.square(params["items"][chosen]), axis=-1), axis=1)
            return jnp.mean(task.loss(outputs, batch) + hp["l2"] * prior)

        losses = jnp.stack([of_domain(*one) for one in zip(drawn.batches, drawn.columns, strict=True)])
        return losses[0] + jnp.sum(strengths(hp)[1:] * losses[1:]) / max(len(sides) - 1, 1)

    def spread_now(world: World, done: Done, hp: Hp) -> Params:
        edges = joint_edges(world, both, source_weights(world, hp))
        z = spread(done["factors"]["items"], edges, world.n_users, layers)
        return {"handed": z.handed, "items": z.items[: world.n_items]}

    def scores_of(z: Params, world: World, hp: Hp) -> Scores:
        def score(users: jax.Array) -> jax.Array:
            x = joint_rows(world, both, source_weights(world, hp), users)
            return (x * positive_power(jnp.sum(x, axis=1), -0.5)[:, None]) @ z["handed"] @ z["items"].T

        return score

    fit = Fit(
        "factors",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=lambda world, done, hp: scores_of(spread_now(world, done, hp), world, hp),
    )
    # kept, so that people who come later change nothing of the items
    graph = Solve("graph", lambda world, done, hp, key: spread_now(world, done, hp))
    return Program((fit, graph), lambda world, done, hp: scores_of(done["graph"], world, hp), folds_in=True)


def spread(factors: jax.Array, edges: Edges, n_users: int, layers: int) -> Spread:
    """The mean of the layers: what comes from items is in users after an odd number of steps, in items after an even."""
    users, columns, weights = edges
    n_items, dim = factors.shape
    of_items = positive_power(jax.ops.segment_sum(weights, columns, n_items), -0.5)
    of_users = positive_power(jax.ops.segment_sum(weights, users, n_users), -0.5)
    share = (weights * of_users[users] * of_items[columns])[:, None]
    layer = jnp.where(of_items[:, None] > 0, factors, 0.0)
    z = Spread(jnp.zeros((n_users, dim)), layer, jnp.zeros_like(layer))
    for number in range(layers):
        if number % 2 == 0:
            z = z._replace(handed=z.handed + layer)
            layer = jax.ops.segment_sum(share * layer[columns], users, n_users)
            z = z._replace(users=z.users + layer)
        else:
            layer = jax.ops.segment_sum(share * layer[users], columns, n_items)
            z = z._replace(items=z.items + layer)
    mean = 1 / (layers + 1)
    return Spread(mean * z.users, mean * z.items, mean * of_items[:, None] * z.handed)

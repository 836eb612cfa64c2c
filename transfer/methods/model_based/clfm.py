"""Cluster-level latent factors: s_d(u, i) = q_i · [A p_u ; A_d p_u], A common to all domains and A_d a domain's own.

p_u are the factors of a user, q_i those of an item; method.common is the share of the dim rows that A has. What a domain
alone knows goes through A_d and leaves A in peace. The prior holds [A p_u ; A_d p_u], since A would grow as p_u shrinks.
With method.common=1 it is cmf with a common map before the items, with 0 the domains share p_u alone.

The paper factorises by groups of users and items, R_d ≈ U_d [S ; S_d] V_dᵀ, without common users; here, as in what others
made of it for common users, the rows of U are p_u, the pattern [S ; S_d] is [A ; A_d], and nothing is held non-negative.

Paper: Gao, Luo, Chen, Li, Gallinari, Guo (2013), CLFM.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.learning import joint_model
from transfer.learning.joint_model import JointModel, domains, joint_fit, product, table
from transfer.program import Model, Needs, Params, Program, Task, stream

NEEDS = Needs(source=True, shared_users=True)
HP = joint_model.HP


class Settings(Method):
    common: float = Field(default=0.5, ge=0, le=1)  # share of the space of items that the domains have in common


def clfm(config: Config) -> JointModel:
    dim, scale = config.model.dim, config.model.init
    common = round(config.method.common * dim)

    def init(world: World, key: jax.Array) -> Params:
        def own(name: str, d: int, rows: int) -> jax.Array:
            return table(stream(key, name, d), rows, dim, dim**-0.5)

        sides = list(enumerate(domains(world)))
        return {
            "users": table(stream(key, "users"), world.n_users, dim, scale),
            "items": [table(stream(key, "items", d), events.n_items, dim, scale) for d, events in sides],
            "common": own("common", 0, common),
            "own": [own("own", d, dim - common) for d, _ in sides],
        }

    def features(params: Params, domain: int, users: jax.Array) -> jax.Array:
        """[A p_u ; A_d p_u] -> [B, dim]."""
        return params["users"][users] @ jnp.concatenate([params["common"], params["own"][domain]]).T

    return JointModel(
        init=init,
        features=features,
        of_items=lambda params, domain, items: params["items"][domain][items],
        match=lambda params, domain, z, y: product(z, y),
        held=features,
    )


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    fit = joint_fit("joint", config, task, clfm(config))
    return Program((fit,), fit.scores)

"""What a user wants everywhere and what she wants here, weighed for each item: ŝ_d(u, i) = μ + b_i + r · (z_ui ⊙ q_i).

z_ui = α c_u + (1 - α) o_ud, c_u common to all domains and o_ud her own in domain d; α = σ(a(c_u ⊙ q_i) - a(o_ud ⊙ q_i))
with a(x) = h · relu(W x + b), and α = 1 where she has no events in d, so that nothing is known of her there. All domains
are learnt together, L = L_target + hp.source_weight · mean over sources of L_source, with W, b, h and r in common, whose
squares hp.decay holds.
method.common=false leaves c out, α = 0: a user's domains then share nothing but W, b, h and r.

Deviations: the paper, which scores who is in one domain alone by o, has no c for them; here a reader without target events
would have nothing then. Items have a bias.

Paper: Yan, Chen, Gao, Li, Jin (2019), DeepAPF.
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
from transfer.solvers.histories import user_counts

NEEDS = Needs(source=True, shared_users=True)
HP = {**joint_model.HP, "decay": joint_model.DECAY}  # decay: of W, h and r


class Settings(Method):
    common: bool = True
    hidden: int = Field(default=16, ge=1)  # width of the attention


def deepapf(config: Config) -> JointModel:
    dim, hidden, scale, with_common = config.model.dim, config.method.hidden, config.model.init, config.method.common

    def init(world: World, key: jax.Array) -> Params:
        sides = list(enumerate(domains(world)))
        return {
            "users": {
                "common": table(stream(key, "common"), world.n_users, dim, scale),
                "own": [table(stream(key, "own", d), world.n_users, dim, scale) for d, _ in sides],
            },
            "items": [table(stream(key, "items", d), events.n_items, dim, scale) for d, events in sides],
            "attention": table(stream(key, "attention"), dim, hidden, (2 / dim) ** 0.5),
            "bias": jnp.zeros(hidden),
            "out": jax.random.normal(stream(key, "out"), (hidden,)),
            "weights": jnp.ones(dim),
        }

    def features(params: Params, domain: int, users: jax.Array) -> Params:
        tables = params["users"]
        known = params["known"][domain][users]
        return {"common": tables["common"][users], "own": tables["own"][domain][users], "known": known}

    def attention(params: Params, z: jax.Array, q: jax.Array) -> jax.Array:
        """a(z ⊙ q) of pairs, without what is z ⊙ q for all of them -> [B, K]."""
        of_users = jnp.einsum("bd,dh->bdh", z, params["attention"])
        inner = jnp.einsum("bdh,kd->bkh", of_users, q[0]) if q.shape[0] == 1 else jnp.einsum("bdh,bkd->bkh", of_users, q)
        return jax.nn.relu(inner + params["bias"][None, None]) @ params["out"]

    def match(params: Params, domain: int, z: Params, q: jax.Array) -> jax.Array:
        of_own = product(z["own"] * params["weights"][None, :], q)
        if not with_common:
            return of_own
        alpha = jax.nn.sigmoid(attention(params, z["common"], q) - attention(params, z["own"], q))
        alpha = jnp.where(z["known"][:, None], alpha, 1.0)
        return alpha * product(z["common"] * params["weights"][None, :], q) + (1 - alpha) * of_own

    return JointModel(
        init=init,
        features=features,
        of_items=lambda params, domain, items: params["items"][domain][items],
        match=match,
        seen=lambda world: [user_counts(events) > 0 for events in domains(world)],
        ready=lambda params, known, hp: {**params, "known": known},
        penalty=lambda params, hp: (
            hp["decay"] * sum(jnp.sum(jnp.square(params[name])) for name in ("attention", "out", "weights"))
        ),
    )


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    fit = joint_fit("joint", config, task, deepapf(config))
    return Program((fit,), fit.scores)

"""A code that all domains of a reader share, and one of each alone: p_d(i | u) ∝ (n_i + 1) exp(b_i + [z ; z_d] · v_i).

Codes are Gaussian, products of N(0, I) with an expert of every event: q has the precision 1 + Σ_d n_d λ_d and, over it,
the mean Σ_d λ_d Σ_j w_j, with w_j an item's and λ_d a domain's. The shared z reads the events of all domains, z_d, with
experts of its own, those of d alone: for who has none it is N(0, I), and z speaks. A part of a reader's events in d, at a
rate drawn for her, is hidden and told from the rest; q_e is z by her events in e, that each domain tells what they share:
L_d = -mean log p_d(i | u) + hp.kl · KL(q(z) q(z_d) ‖ N(0, I)) + hp.share · mean over domains e of KL(q(z) ‖ q_e(z)),
L = L_target + hp.source_weight · mean over sources of L_source. method.codes=own leaves z out, shared z_d. hp.decay is of
the weights; n_i counts training events.

Deviations: products of experts in place of graph networks; one bound of what is shared in place of the paper's two.

Paper: Cao, Lin, Cong, Ya, Liu, Wang (2022), DisenCDR; Wu, Goodman (2018), the products of experts.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.learning.joint_model import domains, table
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Task, adamw, stream
from transfer.solvers import histories

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
HP = {
    "learning_rate": Range(0.01, low=0),
    "decay": Range(0.3, low=0),
    "kl": Range(0.003, low=0),
    "share": Range(0.003, low=0),
    "source_weight": Range(1.0, low=0),
}


class Settings(Method):
    codes: Literal["both", "shared", "own"] = "both"


class Code(NamedTuple):
    """Gaussians of readers, mean and precision [B, dim]."""

    mean: jax.Array
    precision: jax.Array


def code(experts: list[Params], x: list[jax.Array]) -> Code:
    """The product of N(0, I) and the experts of the events x [B, items] of some domains."""
    sums, precision = jnp.float32(0.0), jnp.float32(1.0)
    for expert, rows in zip(experts, x, strict=True):
        strength = jnp.exp(expert["strength"])[None, :]
        sums += strength * (rows @ expert["mean"])
        precision += strength * jnp.sum(rows, axis=1, keepdims=True)
    return Code(sums / precision, precision)


def divergence(p: Code, q: Code) -> jax.Array:
    """KL(p ‖ q), the mean over readers."""
    ratio = q.precision / p.precision
    return jnp.mean(jnp.sum(ratio - 1 - jnp.log(ratio) + q.precision * jnp.square(p.mean - q.mean), axis=1)) / 2


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    dim, kind = config.model.dim, config.method.codes
    rows = max(1, config.train.batch_size // 8)  # readers of each domain per step
    histories.check_dense(rows, max(events.n_items for events in domains(world)), "method=disencdr")

    def init(world: World, done: Done, key: jax.Array) -> Params:
        def tables(name: str, columns: int, scale: float) -> list[jax.Array]:
            return [table(stream(key, name, d), each.n_items, columns, scale) for d, each in enumerate(domains(world))]

        means = {name: tables(name, dim, 1.0) for name in ("shared", "own")}
        factors = tables("items", 2 * dim if kind == "both" else dim, config.model.init)
        return {
            "items": [{"factors": rows, "bias": jnp.zeros(rows.shape[0])} for rows in factors],
            **{name: [{"mean": w, "strength": jnp.full(dim, -2.0)} for w in of] for name, of in means.items()},
        }

    def codes(params: Params, d: int, x: list[jax.Array]) -> list[Code]:
        """Those that items of a domain are scored by, of readers with the events x in every domain."""
        shared, own = code(params["shared"], x), code([params["own"][d]], [x[d]])
        return {"both": [shared, own], "shared": [shared], "own": [own]}[kind]

    def decode(items: Params, z: list[jax.Array], counts: jax.Array) -> jax.Array:
        return jnp.log(counts + 1)[None, :] + items["bias"][None, :] + jnp.concatenate(z, axis=1) @ items["factors"].T

    def events_of(world: World, users: jax.Array) -> list[jax.Array]:
        return [histories.rows(events, jnp.ones_like(events.ratings), users) for events in domains(world)]

    def batch(world: World, done: Done, key: jax.Array) -> list[dict[str, Any]]:
        """For every domain readers, drawn by their events there."""
        sides = list(enumerate(domains(world)))
        drawn = [events.users[events.draw(stream(key, "readers", d), rows)] for d, events in sides]
        return [{"x": events_of(world, drawn[d]), "counts": events.item_counts} for d, events in sides]

    def of_domain(params: Params, d: int, batch: dict[str, Any], hp: Hp, key: jax.Array) -> jax.Array:
        told, rate = batch["x"][d], jax.random.uniform(stream(key, "rate"), (rows, 1))
        shown = jnp.where(jax.random.bernoulli(stream(key, "show"), rate, told.shape), told, 0.0)
        x, hidden = [*batch["x"][:d], shown, *batch["x"][d + 1 :]], told - shown
        q, noise = codes(params, d, x), jax.random.normal(stream(key, "z"), (2, rows, dim))
        z = [each.mean + more * each.precision**-0.5 for each, more in zip(q, noise, strict=False)]
        chance = jnp.sum(hidden * jax.nn.log_softmax(decode(params["items"][d], z, batch["counts"])), axis=1)
        misfit = -jnp.mean(chance / jnp.maximum(jnp.sum(hidden, axis=1), 1.0))
        prior = sum(divergence(each, code([], [])) for each in q)
        shared = zip(params["shared"], x, strict=True) if kind != "own" else ()
        alone = sum(divergence(q[0], code([expert], [events])) for expert, events in shared) / len(x)
        return misfit + hp["kl"] * prior + hp["share"] * alone

    def loss(params: Params, done: Done, batches: list[Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        losses = [of_domain(params, d, each, hp, stream(key, "domain", d)) for d, each in enumerate(batches)]
        return losses[0] + hp["source_weight"] * sum(losses[1:]) / len(losses[1:])

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        def score(users: jax.Array) -> jax.Array:
            z = [each.mean for each in codes(done["codes"], 0, events_of(world, users))]
            return decode(done["codes"]["items"][0], z, world.target.train.item_counts)

        return score

    fit = Fit("codes", init, batch, loss, lambda world: world.target.train.users.shape[0], scores)
    return Program((fit._replace(optimizer=lambda hp: adamw(hp["learning_rate"], hp["decay"])),), scores)

"""Frozen item factors of the source, brought to the target by attention over a reader's history: no user of it is read.

s_u = Σ_j a_uj T e_j over the items j of her history with factors e_j of the source, a_uj ∝ exp(w · relu(p_u ⊙ T e_j)).
ŝ(u, i) = μ + b_u + b_i + (β s_u + (1 - β) p_u) · q_i with β = σ(v · relu(s_u ⊙ q_i) - v · relu(p_u ⊙ q_i)).
e is learnt from the source alone and held; T, w, v, p, q and biases from the target. β is 0 for who has no such history.
method.by=users: the history is what she has in the source. items: what she has in the target and the source has too,
without the item that a step is to predict. With hp.transfer=0, which multiplies β, the source says nothing. The prior
hp.l2 holds what reaches the items, s as it holds p.

Deviations: e is what model=mf or another learns by the task's loss; the paper has items in common alone.

Paper: Gao, Chen, Feng, Zhao, He, Li, Jin (2019), NATR.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config, Method
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.learning.joint_model import product
from transfer.learning.supervised import LEARNER_HP
from transfer.methods.feature_based.emcdr import factors
from transfer.program import Batch, Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Task, stream
from transfer.solvers import histories

NEEDS = Needs(source=True)
HP = {**LEARNER_HP, "transfer": Range(1.0, low=0, high=1)}  # of what the source says


class Settings(Method):
    by: Literal["users", "items"] = "users"  # what the domains have in common


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size, by_items, every_item = config.train.batch_size, config.method.by == "items", jnp.arange(world.n_items)[None]
    common = world.sources[0].target_items if by_items else world.bridges
    if (by_items and common is None) or (common is not None and not common.shape[0]):
        other = "users" if by_items else "items"
        raise TransferError(f"method.by={config.method.by}: the domains have none in common; write method.by={other}")
    histories.check_dense(size, (world.target if by_items else world.sources[0]).train.n_items, "method=natr")

    def history(world: World, done: Done) -> tuple[Interactions, jax.Array, jax.Array]:
        """Events, the source's factors of their items [items, d], and which have some [items]."""
        source, e = world.sources[0], done["source"]["head"]["factors"]
        if not by_items:
            return source.train, e, jnp.ones(e.shape[0])
        assert source.target_items is not None
        place = jnp.where(source.target_items >= 0, source.target_items, world.n_items)
        table = jnp.zeros((world.n_items, e.shape[1])).at[place].set(e, mode="drop")
        return world.target.train, table, jnp.zeros(world.n_items).at[place].set(1.0, mode="drop")

    def chosen(world: World, done: Done, users: jax.Array) -> jax.Array:
        events, _, there = history(world, done)
        return histories.rows(events, there.at[events.items].get(mode="fill", fill_value=0.0), users)

    def read(params: Params, e: jax.Array, rows: jax.Array, users: jax.Array) -> Params:
        """A user's own bias and factors, s from the rows of histories [B, items], and who has one, of users [B]."""
        z, mapped = model.features(params["body"], users), e @ params["transfer"]
        a = jax.nn.softmax(jnp.where(rows > 0, attention(params["by_item"], z["factors"], mapped[None]), -1e9), axis=1)
        return {**z, "brought": (a * rows) @ mapped, "known": jnp.any(rows > 0, axis=1)}

    def outputs(params: Params, z: Params, y: Params, hp: Hp) -> jax.Array:
        p, s, q = z["factors"], z["brought"], y["factors"]
        beta = jax.nn.sigmoid(attention(params["by_domain"], s, q) - attention(params["by_domain"], p, q))
        beta = jnp.where(z["known"][:, None], hp["transfer"] * beta, 0.0)
        return y["mean"] + z["bias"][:, None] + y["bias"] + beta * product(s, q) + (1 - beta) * product(p, q)

    def init(world: World, done: Done, key: jax.Array) -> Params:
        dim = done["source"]["head"]["factors"].shape[1]
        tables = {
            "body": model.body(stream(key, "body"), world.n_users),
            "head": model.head(stream(key, "head"), world.target.train),
        }
        drawn = {name: jax.random.normal(stream(key, name), (dim,)) for name in ("by_item", "by_domain")}
        return {**tables, **drawn, "transfer": jnp.eye(dim)}

    def batch(world: World, done: Done, key: jax.Array) -> dict[str, Any]:
        events = task.batch(world.target.train, key, size)
        rows = chosen(world, done, events.users)
        rows = rows.at[jnp.arange(size), events.items[:, 0]].set(0.0) if by_items else rows
        return {"events": events, "rows": rows, "e": history(world, done)[1]}

    def loss(params: Params, done: Done, batch: dict[str, Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        events: Batch = batch["events"]
        z, y = read(params, batch["e"], batch["rows"], events.users), model.of_items(params["head"], events.items)
        found = outputs(params, z, y, hp)
        if task.every_item:
            found = jnp.concatenate([found, outputs(params, z, model.of_items(params["head"], every_item), hp)], axis=1)
        held = {"bias": z["bias"], "factors": jnp.concatenate([z["factors"], z["brought"]], axis=1)}
        return jnp.mean(task.loss(found, events)) + hp["l2"] * model.penalty(held, y, events)

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        params, (_, e, _) = done["attention"], history(world, done)
        y = model.of_items(params["head"], every_item)

        def score(users: jax.Array) -> jax.Array:
            return outputs(params, read(params, e, chosen(world, done, users), users), y, hp)

        return score

    fit = Fit("attention", init, batch, loss, size=lambda world: world.target.train.users.shape[0], scores=scores)
    return Program((factors(config, task, model)[0], fit), scores)


def attention(weight: jax.Array, z: jax.Array, y: jax.Array) -> jax.Array:
    """weight · relu(z ⊙ y) of pairs -> [B, K]: where both are above zero, and where both are below, in two products."""
    return product(jax.nn.relu(z) * weight[None, :], jax.nn.relu(y)) + product(
        jax.nn.relu(-z) * weight[None, :], jax.nn.relu(-y)
    )

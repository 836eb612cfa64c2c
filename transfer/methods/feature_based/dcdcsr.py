"""Benchmark factors of what both domains know of a user, a map of her factors to them, and items learnt behind it.

b_u = w_u z_u^source + (1 - w_u) z_u^target with w_u = c n_u^source / (c n_u^source + n_u^target), n her events in a domain
and c = hp.source_weight: the domain that knows more of her says more. Where one does not know her, z_u and n_u there are
those of the k people of both domains (method.neighbours) who are nearest to her in the other, by the cosine of factors:
z weighted by it, n the mean. The perceptron f is learnt by |f(z_u^target) - b_u|², and with it items q by the task's loss
of f(z_u^target) · q_i, which leaves f alone. Users without target events are scored with b_u. Biases are mapped too.

Deviations: the paper's neighbours of who is in the target alone are sought with the factors of the source; it serves nobody
who is in the source alone; it scales every row to -1 … 1 before the map, and learns the items after it.

Paper: Zhu, Wang, Chen, Liu, Orgun, Wu (2018), DCDCSR.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.learning.supervised import LEARNER_HP, event_losses
from transfer.methods.feature_based.emcdr import factors, fit_of_map, flat, unflat
from transfer.program import SIDES, Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import perceptron
from transfer.solvers.histories import blocks, user_counts
from transfer.solvers.likeness import readers

NEEDS = Needs(source=True, shared_users=True)
HP = {**LEARNER_HP, "source_weight": Range(1.0, low=0)}


class Settings(Method):
    neighbours: int = Field(default=10, ge=1)
    hidden: int = Field(default=128, ge=1)  # width of the perceptron


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size, neighbours = config.train.batch_size, config.method.neighbours

    def benchmark(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        """b of all users [users, 1 + dim]."""
        everyone, shared = jnp.arange(world.n_users), readers(world)
        z = {name: flat(model.features(done[name]["body"], everyone)) for name in SIDES}
        n = {name: user_counts(side(world).train) for name, side in SIDES.items()}
        both = (shared < world.n_users) & (n["source"][shared] > 0) & (n["target"][shared] > 0)

        def known(name: str, users: jax.Array) -> tuple[jax.Array, jax.Array]:
            """z [B, 1 + dim] and n [B] of users in a domain, or those of the nearest by the other one."""
            other = unit(z["target" if name == "source" else "source"][:, 1:])
            like = jnp.where(both[None, :], other[users] @ other[shared].T, -2.0)
            near, place = jax.lax.top_k(like, min(neighbours, shared.shape[0]))
            there, people = (near >= -1.5).astype(jnp.float32), shared[place]
            weight, found = there * jnp.maximum(near, 1e-6), jnp.maximum(jnp.sum(there, axis=1), 1.0)
            near_z = jnp.einsum("bk,bkd->bd", weight, z[name][people]) / jnp.maximum(jnp.sum(weight, axis=1), 1e-6)[:, None]
            alone, near_n = n[name][users] == 0, jnp.sum(there * n[name][people], axis=1) / found
            return jnp.where(alone[:, None], near_z, z[name][users]), jnp.where(alone, near_n, n[name][users])

        def blend(users: jax.Array) -> jax.Array:
            (a, n_source), (b, n_target) = known("source", users), known("target", users)
            w = hp["source_weight"] * n_source / jnp.maximum(hp["source_weight"] * n_source + n_target, 1e-6)
            return w[:, None] * a + (1 - w)[:, None] * b

        rows = jax.lax.map(blend, blocks(world.n_users, max(shared.shape[0], neighbours * z["target"].shape[1])))
        return {"factors": rows.reshape(-1, rows.shape[2])[: world.n_users]}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        trained = user_counts(world.target.train) > 0

        def score(users: jax.Array) -> jax.Array:
            mapped = perceptron.apply(done["map"]["f"], flat(model.features(done["target"]["body"], users)))
            z = jnp.where(trained[users][:, None], mapped, done["benchmark"]["factors"][users])
            return model.scores(done["map"]["head"], unflat(z))

        return score

    def init(world: World, done: Done, key: jax.Array) -> Params:
        width = done["benchmark"]["factors"].shape[1]
        return {"f": perceptron.init(key, width, config.method.hidden, width), "head": done["target"]["head"]}

    def batch(world: World, done: Done, key: jax.Array) -> dict[str, Any]:
        events = task.batch(world.target.train, key, size)
        own = flat(model.features(done["target"]["body"], events.users))
        return {"events": events, "own": own, "benchmark": done["benchmark"]["factors"][events.users]}

    def loss(params: Params, done: Done, batch: dict[str, Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        events, mapped = batch["events"], perceptron.apply(params["f"], batch["own"])
        error = jnp.sum(jnp.square(mapped - batch["benchmark"]), axis=1)
        z, y = unflat(jax.lax.stop_gradient(mapped)), model.of_items(params["head"], events.items)
        losses = event_losses(task, model, params["head"], z, y, events)
        return jnp.mean(error + losses) + hp["l2"] * model.penalty(z, y, events)

    learn = fit_of_map(init=init, batch=batch, loss=loss, scores=scores)
    return Program((*factors(config, task, model), Solve("benchmark", benchmark), learn), scores)


def unit(rows: jax.Array) -> jax.Array:
    """Rows of length 1 [n, d]."""
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

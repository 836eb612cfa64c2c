"""The log-linear model of what a reader chooses, on what closed forms say: P(i | u) ∝ exp(θ · f(u, i) + b_i).

f(u, i): log popularity; by the source histories user kNN, ridge regression and the same in a Gaussian kernel; by the target
history EASE and item kNN; the likeness of i's text to the reader's, where there are texts. Scores of chances count as they
are and as logarithms, all by their standard deviations. θ differs for readers without a target history and with one, and
training sees every reader both ways. No event is in its own features (`transfer.solvers.evidence`). The loss is task.loss,
best full_softmax or, of many items, sampled_softmax; hp.l2 holds b to zero.

Paper: McFadden (1974), conditional logit; Breiman (1996), stacked regressions; Allen (1974), leave-one-out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Scores, Solve, Task
from transfer.solvers import evidence, histories

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
SHARPNESS = 50.0  # the logarithm of a score s is that of softplus(50 s): s, a chance between 0 and 1, but never below 0


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    widest = max(world.n_users, *(side.train.n_items for side in [world.target, *world.sources]))
    histories.check_dense(world.n_users, widest, "method=softmax")

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        tables = {"source": evidence.from_source(world, hp), "target": evidence.from_target(world, hp)}
        tables["text"] = evidence.from_texts(world)
        trained = (histories.user_counts(world.target.train) > 0).astype(jnp.float32)[:, None]

        def deviation(table: jax.Array) -> jax.Array:
            mean = jnp.sum(trained * table) / (jnp.sum(trained) * world.n_items)
            return jnp.sqrt(jnp.sum(trained * jnp.square(table - mean)) / (jnp.sum(trained) * world.n_items)) + 1e-9

        everyone = features(world, tables, jnp.arange(world.n_users))
        return {"tables": tables, "scale": jax.tree.map(deviation, everyone)}

    def features(world: World, tables: Params, users: jax.Array) -> dict[str, list[jax.Array]]:
        """Features of users [B] by where they come from, each [B, items]."""
        rows = jax.tree.map(lambda table: table[users], tables)
        both = {part: [g(s) for s in rows[part].values() for g in (_as_it_is, _log)] for part in ("source", "target")}
        return {"new": [evidence.popularity(world, users), *rows["text"].values(), *both["source"]], "old": both["target"]}

    def scaled(world: World, done: Done, users: jax.Array) -> dict[str, list[jax.Array]]:
        known = done["features"]
        return jax.tree.map(jnp.divide, features(world, known["tables"], users), known["scale"])

    def logits(params: Params, f: dict[str, list[jax.Array]], history: bool) -> jax.Array:
        """θ · f + b for readers who are told their target history, or not -> [B, items]."""
        told = [*f["new"], *f["old"]] if history else f["new"]
        theta = params["with history" if history else "without"]
        return params["bias"][None, :] + sum(weight * part for weight, part in zip(theta, told, strict=True))

    def init(world: World, done: Done, key: jax.Array) -> Params:
        new, old = (len(done["features"]["scale"][part]) for part in ("new", "old"))
        return {"without": jnp.zeros(new), "with history": jnp.zeros(new + old), "bias": jnp.zeros(world.n_items)}

    def batch(world: World, done: Done, key: jax.Array) -> Any:
        events = task.batch(world.target.train, key, config.train.batch_size)
        return events, scaled(world, done, events.users)

    def loss(params: Params, done: Done, drawn: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        events, f = drawn
        total = hp["l2"] * jnp.mean(jnp.square(params["bias"]))
        for history in (False, True):
            scores = logits(params, f, history)
            outputs = jnp.take_along_axis(scores, events.items, axis=1)
            outputs = jnp.concatenate([outputs, scores], axis=1) if task.every_item else outputs
            total += jnp.mean(task.loss(outputs, events)) / 2
        return total

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        told = histories.user_counts(world.target.train) > 0

        def score(users: jax.Array) -> jax.Array:
            f = scaled(world, done, users)
            new, old = (logits(done["weights"], f, history) for history in (False, True))
            return jnp.where(told[users][:, None], old, new)

        return score

    learn = Fit(
        "weights",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=scores,
    )
    return Program((Solve("features", solve), learn), scores)


def _as_it_is(score: jax.Array) -> jax.Array:
    return score


def _log(score: jax.Array) -> jax.Array:
    return jnp.log(jax.nn.softplus(SHARPNESS * score))

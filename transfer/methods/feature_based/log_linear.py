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
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import evidence, histories

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
HP = {
    "learning_rate": Range(0.03, low=0),
    "l2": Range(1.0, low=0),  # of the items' biases
    "shrinkage": Range(1.0, low=0),  # of the user kNN
    "normalise": Range(0.25, low=0),  # of the ridge regression: the power of a history's length
    "ridge": Range(30.0, low=0, above=True),  # of the ridge regression, of that in a kernel, of EASE
    "kernel_ridge": Range(3.0, low=0, above=True),
    "ease_ridge": Range(100.0, low=0, above=True),
    "bandwidth": Range(1.5, low=0, above=True),  # of the kernel; power: that of the lengths
    "power": Range(0.25, low=0),
    "item_shrinkage": Range(10.0, low=0),  # of the item kNN
}
SHARPNESS = 50.0  # the logarithm of a score s is that of softplus(50 s): s, a chance between 0 and 1, but never below 0


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    widest = max(world.n_users, *(side.train.n_items for side in [world.target, *world.sources]))
    histories.check_dense(world.n_users, widest, "method=log_linear")

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        """Features of everybody by where they come from, {name: [users, items]}, and the deviation of log popularity."""
        source, target = (_and_logarithms(found(world, hp)) for found in (evidence.from_source, evidence.from_target))
        trained = (histories.user_counts(world.target.train) > 0).astype(jnp.float32)[:, None]

        def deviation(table: jax.Array) -> jax.Array:
            mean = jnp.sum(trained * table) / (jnp.sum(trained) * world.n_items)
            return jnp.sqrt(jnp.sum(trained * jnp.square(table - mean)) / (jnp.sum(trained) * world.n_items)) + 1e-9

        tables = {"new": {**evidence.from_texts(world), **source}, "old": target}
        popularity = deviation(evidence.popularity(world, jnp.arange(world.n_users)))
        return {"popularity": popularity, "tables": jax.tree.map(lambda table: table / deviation(table), tables)}

    def features(world: World, done: Done, users: jax.Array) -> dict[str, list[jax.Array]]:
        """Those of users [B], each [B, items]: new, of everybody; old, of those who are told their target history."""
        popularity, tables = (done["features"][part] for part in ("popularity", "tables"))
        rows = {part: [table[users] for table in of.values()] for part, of in tables.items()}
        return {**rows, "new": [evidence.popularity(world, users) / popularity, *rows["new"]]}

    def logits(params: Params, f: dict[str, list[jax.Array]], history: bool) -> jax.Array:
        """θ · f + b for readers who are told their target history, or not -> [B, items]."""
        told = [*f["new"], *f["old"]] if history else f["new"]
        theta = params["with history" if history else "without"]
        return params["bias"][None, :] + sum(weight * part for weight, part in zip(theta, told, strict=True))

    def init(world: World, done: Done, key: jax.Array) -> Params:
        new, old = (len(done["features"]["tables"][part]) for part in ("new", "old"))
        return {"without": jnp.zeros(1 + new), "with history": jnp.zeros(1 + new + old), "bias": jnp.zeros(world.n_items)}

    def batch(world: World, done: Done, key: jax.Array) -> Any:
        events = task.batch(world.target.train, key, config.train.batch_size)
        return events, features(world, done, events.users)

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
            f = features(world, done, users)
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


def _and_logarithms(chances: Params) -> Params:
    return {**chances, **{f"log {name}": jnp.log(jax.nn.softplus(SHARPNESS * chance)) for name, chance in chances.items()}}

"""A personal map of user factors, made by a meta-network from what the user liked in the source: ẑ_u = (W + M(p_u)) z_u.

p_u = Σ_j a_j v_j over the liked source items j, with a_j ∝ exp(attention(v_j)) of their factors v_j; M is a perceptron
whose outputs are the entries of a matrix. W is EMCDR's common map in closed form (ridge, hp.ridge) and M starts at zero, so
that a user's map departs from the common one as far as the data says. method.loss=task fits the target's events, mean
ℓ(ŝ(ẑ_u, i)), with all factors held; =mapping fits |ẑ_u - z_u^target|². hp.map_decay is the decay of the meta-network.
Biases are mapped too.

Paper: Zhu, Tang, Liu, Zhuang, Xie, Zhang, Lin, He (2022), PTUPCDR.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.learning.supervised import event_losses
from transfer.methods.feature_based import emcdr
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Task, adamw, stream
from transfer.solvers import histories, maps, perceptron

NEEDS = Needs(source=True, shared_users=True)
HP = {
    **emcdr.HP,
    "map_rate": Range(0.001, low=0),  # learning rate of the meta-network
    "map_decay": Range(0.01, low=0),  # and the decay of its weights
}


class Settings(Method):
    loss: Literal["task", "mapping"] = "task"
    hidden: int = Field(default=50, ge=1)  # width of the attention and of the meta-network


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size = config.train.batch_size
    common = emcdr.stages(config, task, model, "ridge")

    def personal(done: Done, meta: Params, z: jax.Array, liked: jax.Array) -> jax.Array:
        """z [B, d] through the maps of the users whose liked source items are `liked` [B, items] -> [B, d]."""
        head = done["source"]["head"]
        items = jnp.concatenate([head["bias"][:, None], head["factors"]], axis=1)
        score = perceptron.apply(meta["attention"], items)[:, 0]
        attention = jnp.exp(score - jax.lax.stop_gradient(jnp.max(score)))
        total = liked @ attention
        taste = (liked @ (attention[:, None] * items)) / jnp.maximum(total, 1e-9)[:, None]
        matrix = perceptron.apply(meta["maker"], taste).reshape(-1, z.shape[1], z.shape[1])
        offset = z - done["map"]["x"][None, :]
        return maps.apply("ridge", done["map"], z) + jnp.einsum("bp,bpq->bq", offset, matrix)

    def liked(world: World, users: jax.Array) -> jax.Array:
        """1 for source events rated at the mean or above [B, items]."""
        events = world.sources[0].train
        return histories.rows(events, (events.ratings >= events.mean_rating - 1e-4).astype(jnp.float32), users)

    def carried(world: World, done: Done, hp: Hp) -> Scores:
        def of(users: jax.Array) -> jax.Array:
            z = emcdr.flat(model.features(done["source"]["body"], users))
            return personal(done, done["meta"], z, liked(world, users))

        return of

    def init(world: World, done: Done, key: jax.Array) -> Params:
        width = done["map"]["matrix"].shape[0]
        maker = perceptron.init(stream(key, "maker"), width, config.method.hidden, width * width)
        maker["output"] = jax.tree.map(jnp.zeros_like, maker["output"])
        return {"attention": perceptron.init(stream(key, "attention"), width, config.method.hidden, 1), "maker": maker}

    def batch(world: World, done: Done, key: jax.Array) -> dict[str, Any]:
        events = task.batch(world.target.train, key, size)
        shared = emcdr.has_events(world, "source")[events.users]
        return {"events": events, "liked": liked(world, events.users), "shared": shared}

    def loss(meta: Params, done: Done, batch: dict[str, Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        events = batch["events"]
        source, target = (emcdr.flat(model.features(done[name]["body"], events.users)) for name in ("source", "target"))
        z = personal(done, meta, source, batch["liked"])
        if config.method.loss == "mapping":
            error = jnp.sum(jnp.square(z - target), axis=1)
        else:
            head = done["target"]["head"]
            error = event_losses(task, model, head, emcdr.unflat(z), model.of_items(head, events.items), events)
        return jnp.mean(jnp.where(batch["shared"], error, 0.0))

    scores = emcdr.scores_with(model, carried)
    learn = Fit(
        "meta",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=scores,
        optimizer=lambda hp: adamw(hp["map_rate"], hp["map_decay"]),
    )
    return Program((*common, learn), scores)

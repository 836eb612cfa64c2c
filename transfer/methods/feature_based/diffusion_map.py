"""A user's factors in the target, taken out of noise step by step, with what she likes in the source as a guide.

z_t = √ā_t z_0 + √(1 - ā_t) ε of her standardised factors z_0, ε ~ N(0, I), ā_t = cos²(π/2 · t / (T + 1)), T = method.steps.
The perceptron g is learnt on shared users by E |g(z_t, t, c) - z_0|²; the guide c is her source factors beside the mean
factors of her source items, hidden in training at the rate hp.hidden. A user without target events begins at z_T = 0, the
mean of the noise, and goes back by ẑ = (1 + w) g(z_t, t, c) - w g(z_t, t, 0), w = hp.guidance, to
z_{t-1} = √ā_{t-1} ẑ + √(1 - ā_{t-1}) (z_t - √ā_t ẑ) / √(1 - ā_t). The others keep theirs. Biases are mapped too.

With T = 1 and w = 0 it is a regression of z_0 on c. Deviations: the paper draws z_T, reads the source history with a
transformer and learns g by recommendations too.

Paper: Li, Tang, Sheng, Zhang, Gao, Cheng, Yin, Liu (2025), DMCDR; Song, Meng, Ermon (2021), the steps; Ho, Salimans (2022),
the guidance.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.learning.supervised import LEARNER_HP
from transfer.methods.feature_based.emcdr import factors, fit_of_map, flat, has_events, scores_with
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task, stream
from transfer.solvers import perceptron
from transfer.solvers.histories import mean_rows

NEEDS = Needs(source=True, shared_users=True)
HP = {
    **LEARNER_HP,
    "hidden": Range(0.1, low=0, high=1),  # how often the guide is hidden in training
    "guidance": Range(0.0, low=0),
}


class Settings(Method):
    steps: int = Field(default=10, ge=1)
    width: int = Field(default=128, ge=1)  # of the perceptron


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    size, steps = config.train.batch_size, config.method.steps
    kept = jnp.asarray(np.cos(np.pi / 2 * np.arange(steps + 1) / (steps + 1)) ** 2, jnp.float32)  # ā_t

    def told(world: World, done: Done, users: jax.Array) -> jax.Array:
        """Source factors of users, and the mean of those of their source items [B, 2 + 2 dim]."""
        around = mean_rows(world.sources[0].train, flat(done["source"]["head"]))[users]
        return jnp.concatenate([flat(model.features(done["source"]["body"], users)), around], axis=1)

    def spread(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        """Mean and standard deviation over shared users of what is told and of their target factors."""
        shared = (has_events(world, "source") & has_events(world, "target")).astype(jnp.float32)
        weight = shared / jnp.maximum(jnp.sum(shared), 1.0)

        def moments(rows: jax.Array) -> Params:
            mean = weight @ rows
            return {"mean": mean, "root": jnp.sqrt(weight @ jnp.square(rows - mean[None, :]) + 1e-6)}

        everyone = jnp.arange(world.n_users)
        z = flat(model.features(done["target"]["body"], everyone))
        return {"guide": moments(told(world, done, everyone)), "z": moments(z)}

    def predict(g: Params, z: jax.Array, t: jax.Array, guide: jax.Array) -> jax.Array:
        """ẑ_0 of z [B, d] at steps t int32 [B]."""
        time = jnp.sqrt(jnp.stack([kept[t], 1 - kept[t]], axis=1))
        return perceptron.apply(g, jnp.concatenate([z, guide, time], axis=1))

    def carried(world: World, done: Done, hp: Hp) -> Scores:
        """From noise to factors."""
        g, of_z = done["map"], done["spread"]["z"]

        def of(users: jax.Array) -> jax.Array:
            guide = standard(told(world, done, users), done["spread"]["guide"])

            def step(n: jax.Array, z: jax.Array) -> jax.Array:
                t = jnp.full(users.shape[0], steps - n)
                free = predict(g, z, t, jnp.zeros_like(guide))
                found = free + (1 + hp["guidance"]) * (predict(g, z, t, guide) - free)
                noise = (z - jnp.sqrt(kept[steps - n]) * found) / jnp.sqrt(1 - kept[steps - n])
                return jnp.sqrt(kept[steps - n - 1]) * found + jnp.sqrt(1 - kept[steps - n - 1]) * noise

            z = jax.lax.fori_loop(0, steps, step, jnp.zeros((users.shape[0], len(of_z["mean"]))))
            return of_z["mean"][None, :] + of_z["root"][None, :] * z

        return of

    def init(world: World, done: Done, key: jax.Array) -> Params:
        guide, z = (len(done["spread"][name]["mean"]) for name in ("guide", "z"))
        return perceptron.init(key, z + guide + 2, config.method.width, z)

    def batch(world: World, done: Done, key: jax.Array) -> Params:
        users, of = task.batch(world.target.train, key, size).users, done["spread"]
        z = standard(flat(model.features(done["target"]["body"], users)), of["z"])
        return {
            "z": z,
            "guide": standard(told(world, done, users), of["guide"]),
            "shared": has_events(world, "source")[users],
        }

    def loss(g: Params, done: Done, batch: Params, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        z, t = batch["z"], jax.random.randint(stream(key, "t"), (size,), 1, steps + 1)
        noise = jax.random.normal(stream(key, "noise"), z.shape)
        seen = jax.random.bernoulli(stream(key, "hide"), 1 - hp["hidden"], (size, 1)).astype(jnp.float32)
        noisy = jnp.sqrt(kept[t])[:, None] * z + jnp.sqrt(1 - kept[t])[:, None] * noise
        error = jnp.sum(jnp.square(predict(g, noisy, t, seen * batch["guide"]) - z), axis=1)
        return jnp.mean(jnp.where(batch["shared"], error, 0.0))

    scores = scores_with(model, carried)
    learn = fit_of_map(init=init, batch=batch, loss=loss, scores=scores)
    return Program((*factors(config, task, model), Solve("spread", spread), learn), scores)


def standard(rows: jax.Array, moments: Params) -> jax.Array:
    return (rows - moments["mean"][None, :]) / moments["root"][None, :]

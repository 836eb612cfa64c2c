"""Ridge regression of the target's items on source histories in a learnt kernel: s_u = p + k_u (K + λI)⁻¹ (X_t - p).

k(u, v) = Σ_d a_d (n_u n_v)^c exp(γ (cos(w∘x_u, w∘x_v) - 1)) over the source domains d, with n_u = |w∘x_u|² over its mean,
and p the items' popularity; K is that of the readers whom both domains know in training. The weights a of the domains, w of
their items, and γ, c, λ are learnt by the multinomial likelihood of every training reader's items under the scores that the
other readers give her, in closed form: s_u = x_u - ((K + λI)⁻¹ (X_t - p))_u / ((K + λI)⁻¹)_uu. They start at hp.bandwidth
(γ), hp.power (c) and hp.ridge (λ); hp.l2 holds w to 1.

Paper: Wilson et al. (2016), deep kernels; Bertinetto et al. (2019), learning through ridge regression; Allen (1974),
leave-one-out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.program import Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import histories
from transfer.solvers.likeness import readers

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
HP = {
    "learning_rate": Range(0.03, low=0),
    "ridge": Range(3.0, low=0, above=True),
    "bandwidth": Range(1.5, low=0, above=True),
    "power": Range(0.25, low=0),  # of the lengths of histories
    "l2": Range(1.0, low=0),
}
SHARPNESS = 50.0  # the likelihood of a score s is ∝ softplus(50 s): s, a chance between 0 and 1, but never below 0


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    many = readers(world).shape[0]
    widest = max(many, *(side.train.n_items for side in [world.target, *world.sources]))
    histories.check_dense(many, widest, "method=kernel_map")

    def init(world: World, done: Done, key: jax.Array) -> Params:
        each = {
            f"source {i}": {
                "items": jnp.zeros(side.train.n_items),
                **{name: jnp.zeros(()) for name in ("weight", "γ", "c")},
            }
            for i, side in enumerate(world.sources)
        }
        return {"sources": each, "λ": jnp.zeros(())}

    def kernel(params: Params, one: list[jax.Array], data: dict[str, Any], hp: Hp) -> jax.Array:
        """k of readers with histories one[d] [n, items] and the readers [m] of the data -> [n, m]."""
        total, weights = jnp.zeros((one[0].shape[0], data["trained"].shape[0])), jnp.zeros(())
        for own, a, b in zip(params["sources"].values(), one, data["source"], strict=True):
            a, b = (x * jnp.exp(own["items"])[None, :] for x in (a, b))
            m, n = (jnp.sum(x * x, axis=1) + 1e-3 for x in (a, b))
            cosine = (a @ b.T) / jnp.sqrt(m[:, None] * n[None, :])
            typical = jnp.sum(n * data["trained"]) / jnp.sum(data["trained"])
            size = ((m / typical)[:, None] * (n / typical)[None, :]) ** (hp["power"] * jnp.exp(own["c"]))
            total += jnp.exp(own["weight"]) * size * jnp.exp(hp["bandwidth"] * jnp.exp(own["γ"]) * (cosine - 1))
            weights += jnp.exp(own["weight"])
        return total / weights

    def regression(params: Params, data: dict[str, Any], hp: Hp) -> tuple[jax.Array, jax.Array]:
        """K + λI among training readers (the identity for others), and X_t - p."""
        trained = data["trained"]
        k = kernel(params, data["source"], data, hp) * trained[:, None] * trained[None, :]
        centred = (data["target"] - data["popular"][None, :]) * trained[:, None]
        return k + hp["ridge"] * jnp.exp(params["λ"]) * jnp.eye(k.shape[0]), centred

    def loss(params: Params, done: Done, data: dict[str, Any], hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        matrix, centred = regression(params, data, hp)
        inverse = jnp.linalg.inv(matrix)
        without = data["target"] - (inverse @ centred) / jnp.diag(inverse)[:, None]
        chance = jax.nn.log_softmax(jnp.log(jax.nn.softplus(SHARPNESS * without)))
        weights = [jnp.mean(jnp.square(own["items"])) for own in params["sources"].values()]
        return -jnp.sum(data["target"] * chance) / jnp.sum(data["target"]) + hp["l2"] * sum(weights)

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        return {"dual": jnp.linalg.solve(*regression(done["kernel"], _data(world), hp))}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        data = _data(world)
        dual = done["map"]["dual"] if "map" in done else solve(world, done, hp, jax.random.key(0))["dual"]

        def score(users: jax.Array) -> jax.Array:
            rows = [histories.rows(side.train, jnp.ones_like(side.train.ratings), users) for side in world.sources]
            return data["popular"][None, :] + kernel(done["kernel"], rows, data, hp) @ dual

        return score

    learn = Fit(
        "kernel",
        init=init,
        batch=lambda world, done, key: _data(world),
        loss=loss,
        size=lambda world: 1,  # every step sees everybody
        scores=scores,
    )
    return Program((learn, Solve("map", solve)), scores, folds_in=True)


def _data(world: World) -> dict[str, Any]:
    """Histories of the readers whom both domains know, who of them is no padding, and the share of readers of each item."""
    known = readers(world)
    counts = histories.user_counts(world.target.train)
    rows = [histories.rows(side.train, jnp.ones_like(side.train.ratings), known) for side in [world.target, *world.sources]]
    return {
        "source": rows[1:],
        "target": rows[0],
        "trained": (counts.at[known].get(mode="fill", fill_value=0.0) > 0).astype(jnp.float32),
        "popular": world.target.train.item_counts / jnp.sum((counts > 0).astype(jnp.float32)),
    }

"""What every source is worth to a map from source histories: weights w ≥ 0, exactly 0 for what does not help.

They minimise the squared error with which the target's items are foretold for readers whom the regression has not seen:
Σ_u |e_u|², e_u = (A⁻¹ Y)_u / (A⁻¹)_uu, A = Σ_d w_d² K_d + λI (Allen 1974), K_d the likeness of histories in source d, Y
the training readers' items less their popularity. Steps go by the sign of the gradient (Riedmiller & Braun 1993, Rprop)
and end at the walls w = 0.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Params, Solve
from transfer.solvers import histories
from transfer.solvers.likeness import likeness, readers

STAGE = "sources"
ROUNDS = 40
CELLS = 2**25  # of the matrices K of all sources together: so many readers are looked at, evenly spaced
READERS = 1500  # and no more than these


def stage() -> Solve:
    """Reads hp.ridge (λ) and hp.normalise."""
    return Solve(STAGE, learn)


def learn(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
    """{"weights": w} of the sources, float32 [sources], which begin at 1."""
    known, count = readers(world), len(world.sources)
    some = min(READERS, math.isqrt(CELLS // count), known.shape[0])
    users = known[jnp.arange(some) * known.shape[0] // some]
    trained = histories.user_counts(world.target.train) > 0
    among = trained.at[users].get(mode="fill", fill_value=False).astype(jnp.float32)
    only = {**hp, "source_weight": jnp.float32(1)}
    alike = jnp.stack(
        [
            likeness(
                world, {**only, **{f"source_weight_{j}": jnp.float32(i == j) for j in range(1, count + 1)}}, users, users
            )
            for i in range(1, count + 1)
        ]
    )
    alike = alike * among[None, :, None] * among[None, None, :]
    y = histories.rows(world.target.train, jnp.ones_like(world.target.train.ratings), users)
    y = among[:, None] * (y - jnp.sum(y, axis=0, keepdims=True) / jnp.maximum(jnp.sum(among), 1.0))
    products = y @ y.T

    def error(weights: jax.Array) -> jax.Array:
        matrix = jnp.einsum("d,duv->uv", jnp.square(weights), alike) + hp["ridge"] * jnp.eye(some)
        inverse = jnp.linalg.inv(matrix)
        squares = jnp.sum((inverse @ products) * inverse, axis=1)  # |A⁻¹ Y|² of every row
        return jnp.sum(among * squares / jnp.square(jnp.diag(inverse))) / jnp.trace(products)

    def walk(state: Any, _: None) -> tuple[Any, None]:
        weights, step, before, best = state
        now, gradient = jax.value_and_grad(error)(weights)
        best = jax.tree.map(lambda new, old: jnp.where(now < best[0], new, old), (now, weights), best)
        turned = gradient * before < 0
        step = jnp.clip(jnp.where(turned, 0.5, 1.2) * step, 1e-3, 0.3)
        return (jnp.maximum(weights - jnp.sign(gradient) * step, 0.0), step, gradient, best), None

    start = jnp.ones(count)
    state = (start, jnp.full(count, 0.1), jnp.zeros(count), (jnp.float32(jnp.inf), start))
    (*_, (_, weights)), _ = jax.lax.scan(walk, state, None, length=ROUNDS)
    return {"weights": weights}


def with_learnt(hp: Hp, done: Done) -> Hp:
    """The numbers of a method, hp.source_weight_1, … times what was learnt where it was."""
    if STAGE not in done:
        return hp
    weights = done[STAGE]["weights"]
    names = [f"source_weight_{i + 1}" for i in range(weights.shape[0])]
    return {**hp, **{name: hp.get(name, 1.0) * weight for name, weight in zip(names, weights, strict=True)}}

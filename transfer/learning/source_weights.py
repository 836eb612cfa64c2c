"""What every source is worth to a map from source histories: weights w ≥ 0, exactly 0 for what does not help.

They minimise the squared error with which the target's items are foretold for readers whom neither the regression nor
the popularity p has seen: Σ_u |e_u|², e_u = (A⁻¹ Y)_u / (A⁻¹)_uu - h_u p_-u, h_u = (A⁻¹ 1)_u / (A⁻¹)_uu (Allen 1974),
A = Σ_d w_d² K_d + λI, K_d the likeness of histories in source d, Y the training readers' items, p_-u their mean without
u's. Steps go by the sign of the gradient (Riedmiller & Braun 1993, Rprop) and end at the walls w = 0. Or as many sources as
are asked for have w = 1, taken one after another: each time that with which the error is least (forward selection).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Params, Solve
from transfer.solvers import histories
from transfer.solvers.likeness import by_source, readers

STAGE = "sources"
ROUNDS = 40
CELLS = 2**25  # of the matrices K of all sources together: so many readers are looked at, evenly spaced
READERS = 1500  # and no more than these


def stage(count: int | None = None) -> Solve:
    """Reads hp.ridge (λ) and those of `transfer.solvers.likeness`; count: of the sources that are taken, None: weighs all.

    {"weights": w, "without": the rise of the error, as a share of it, where a source is left out}, float32 [sources]; where
    some are taken also "taken", int32 [count], which they are in their order, and "errors" with each and those before it.
    """
    return Solve(STAGE, learn if count is None else partial(forward, count=count))


def learn(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
    """Weights that begin at 1."""
    error = unseen_error(world, hp)

    def walk(state: Any, _: None) -> tuple[Any, None]:
        weights, step, before, best = state
        now, gradient = jax.value_and_grad(error)(weights)
        best = jax.tree.map(lambda new, old: jnp.where(now < best[0], new, old), (now, weights), best)
        turned = gradient * before < 0
        step = jnp.clip(jnp.where(turned, 0.5, 1.2) * step, 1e-3, 0.3)
        return (jnp.maximum(weights - jnp.sign(gradient) * step, 0.0), step, gradient, best), None

    start = jnp.ones(len(world.sources))
    state = (start, jnp.full_like(start, 0.1), jnp.zeros_like(start), (jnp.float32(jnp.inf), start))
    (*_, (least, weights)), _ = jax.lax.scan(walk, state, None, length=ROUNDS)
    return {"weights": weights, "without": _without(error, weights, least)}


def forward(world: World, done: Done, hp: Hp, key: jax.Array, *, count: int) -> Params:
    """Weights of 1 for `count` sources."""
    error = unseen_error(world, hp)
    one_each = jnp.eye(len(world.sources))

    def one_more(weights: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        errors = jax.lax.map(error, jnp.maximum(weights[None, :], one_each))
        errors = jnp.where(weights > 0, jnp.inf, errors)
        best = jnp.argmin(errors)
        return jnp.maximum(weights, one_each[best]), (best, errors[best])

    weights, (taken, errors) = jax.lax.scan(one_more, jnp.zeros(len(world.sources)), None, length=count)
    return {"weights": weights, "without": _without(error, weights, errors[-1]), "taken": taken, "errors": errors}


def unseen_error(world: World, hp: Hp) -> Callable[[jax.Array], jax.Array]:
    """Weights of the sources [sources] -> the squared error, as a share of what popularity leaves open."""
    known, count = readers(world), len(world.sources)
    some = min(READERS, math.isqrt(CELLS // count), known.shape[0])
    users = known[jnp.arange(some) * known.shape[0] // some]
    trained = histories.user_counts(world.target.train) > 0
    among = trained.at[users].get(mode="fill", fill_value=False).astype(jnp.float32)
    alike = by_source(world, hp, users) * among[None, :, None] * among[None, None, :]
    y = among[:, None] * histories.rows(world.target.train, jnp.ones_like(world.target.train.ratings), users)
    products = y @ y.T
    others = (among[None, :] - jnp.eye(some)) / jnp.maximum(jnp.sum(among) - 1, 1.0)  # of each the mean: p_-u

    def squares(errors: jax.Array) -> jax.Array:
        """Σ_u |e_u|² of e = errors Y."""
        return jnp.sum(among * jnp.sum((errors @ products) * errors, axis=1))

    def error(weights: jax.Array) -> jax.Array:
        matrix = jnp.einsum("d,duv->uv", jnp.square(weights), alike) + hp["ridge"] * jnp.eye(some)
        inverse = jnp.linalg.inv(matrix)
        seen = inverse / jnp.diag(inverse)[:, None]
        return squares(seen - (seen @ among)[:, None] * others) / squares(jnp.eye(some) - others)

    return error


def _without(error: Callable[[jax.Array], jax.Array], weights: jax.Array, least: jax.Array) -> jax.Array:
    """The rise of the error where each source is left out, as a share of the error; 0 for one that has no weight."""
    rises = jax.lax.map(error, weights[None, :] * (1 - jnp.eye(weights.shape[0]))) / least - 1
    return jnp.where(weights > 0, rises, 0.0)


def with_learnt(hp: Hp, done: Done) -> Hp:
    """The numbers of a method, hp.source_weight_1, … times what was learnt where it was."""
    if STAGE not in done:
        return hp
    weights = done[STAGE]["weights"]
    names = [f"source_weight_{i + 1}" for i in range(weights.shape[0])]
    return {**hp, **{name: hp.get(name, 1.0) * weight for name, weight in zip(names, weights, strict=True)}}

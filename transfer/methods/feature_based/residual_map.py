"""A map from source histories, and EASE on what the target history says beyond it: s_u = m_u + (t_u / ρ_u - m_u) B_ρ.

m_u = p + k_u (K + λI)⁻¹ (T - p) is kernel ridge regression on the readers whom both domains know; λ = hp.ridge, p the
items' popularity, k(u, v) the likeness of source histories (`transfer.solvers.likeness`). B_ρ regresses every item on the
others where readers who are alike in the source err alike (generalised least squares):
P = ((T - p)ᵀ λ(K + λI)⁻¹ (T - p) + (1/ρ - 1) diag TᵀT + hp.ease_ridge I)⁻¹, B = I - P diag(1 / diag P).
ρ_u = n_u / (n_u + hp.unknown) is the share of u's books that she has told of: EASE fitted to histories that are thinned
to it, so that one book says little and many say much. n_u is taken at 1, 2, 4, … (method.levels of them).
With method.rank the map reads so many leading singular vectors of all source histories beside their items, hp.leading
times: two readers of the same taste are alike who have no item in common.
With method.sources=learnt every source has a weight, found by leaving readers out, with best_1, best_2, … so many sources
are taken, one after another, and with chosen what serves readers left out best (`transfer.learning.source_weights`).
A reader without a target history has m_u; with hp.source_weight=0 no source is read. The combination is this project's.

Paper: Steck (2019), EASE; Steck (2020), EDLAE, for thinned histories; Goldberger (1962), generalised least squares.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.learning import source_weights
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import histories, joint, likeness
from transfer.solvers.likeness import readers

NEEDS = Needs(tasks=("ranking",), source=True, shared_users=True)
HP = {
    "ridge": Range(30.0, low=0, above=True),
    "normalise": Range(0.25, low=0),  # the power of a history's length
    "ease_ridge": Range(30.0, low=0, above=True),
    "unknown": Range(3.0, low=0, above=True),  # how many more books a reader likes than she has told of
    "source_weight": Range(1.0, low=0, by_source=True),
    "inverse_frequency": Range(0.0, low=0),  # the power of what rare items of a source weigh more
    "counts": Range(0.0, low=0),  # how strongly it tells how many events a reader has in each source
    "leading": Range(3.0, low=0),  # with method.rank: what leading singular vectors weigh beside the items themselves
}


class Settings(Method):
    levels: int = Field(default=5, ge=1)  # lengths of target histories that have a B each: 1, 2, 4, …
    sources: str = Field(default=source_weights.EQUAL, pattern=source_weights.HOW)
    rank: int = Field(default=0, ge=0)  # leading singular vectors of source histories; 0: their items alone
    most: int | None = Field(default=None, ge=1)  # of the target's items, those most chosen; the others have popularity


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    most, levels = config.method.most, jnp.arange(config.method.levels, dtype=jnp.float32)
    rank = min(config.method.rank, world.n_users)
    if not rank and config.hp["leading"] != HP["leading"].default:
        raise TransferError("hp.leading has no effect without singular vectors; write method.rank=64, or leave it out")
    m, items = readers(world).shape[0], min(config.method.most or world.n_items, world.n_items)
    histories.check_dense(m, max(m, items), "method=residual_map")
    histories.check_dense(len(levels) * items, items, "method=residual_map without a smaller method.most")

    def shares(hp: Hp) -> jax.Array:
        """ρ of every level [levels]."""
        return jnp.exp2(levels) / (jnp.exp2(levels) + hp["unknown"])

    def with_few_items(world: World) -> World:
        return replace(joint.most_chosen(world, most), sources=world.sources)

    def target_rows(world: World, users: jax.Array) -> jax.Array:
        return histories.rows(world.target.train, jnp.ones_like(world.target.train.ratings), users)

    def popularity(world: World) -> jax.Array:
        """p: the share of those with a target history who have each item, by the events of training."""
        return world.target.train.item_counts / jnp.sum(histories.user_counts(world.target.train) > 0).astype(jnp.float32)

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        world, hp = with_few_items(world), source_weights.with_learnt(hp, done)
        users, popular = readers(world), popularity(world)
        trained = (histories.user_counts(world.target.train) > 0).astype(jnp.float32)
        among = trained.at[users].get(mode="fill", fill_value=0.0)
        y = among[:, None] * (target_rows(world, users) - popular[None, :])
        vectors = likeness.directions(world, hp, rank, key) if rank else None
        k = among[:, None] * likeness.among(world, hp, users, vectors) * among[None, :]
        dual = jax.scipy.linalg.solve(k + hp["ridge"] * jnp.eye(m), y, assume_a="pos")
        gram = joint.over_rows(world, False, (), lambda x: x.T @ x)
        # (T - p)ᵀ (T - p), for readers of the source without what the map explains
        left = gram - jnp.sum(trained) * popular[:, None] * popular[None, :] - y.T @ (y - hp["ridge"] * dual)

        def regress(rho: jax.Array) -> jax.Array:
            inverse = jnp.linalg.inv(left + jnp.diag((1 / rho - 1) * jnp.diag(gram) + hp["ease_ridge"]))
            return jnp.fill_diagonal(-inverse / jnp.diag(inverse)[None, :], 0.0, inplace=False)

        found = {"popular": popular, "dual": dual, "items": jax.lax.map(regress, shares(hp))}
        return found if vectors is None else {**found, "vectors": vectors}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        few, fitted, hp = with_few_items(world), done["map"], source_weights.with_learnt(hp, done)
        alike = likeness.likeness(few, hp, readers(few), fitted.get("vectors"))

        def score(users: jax.Array) -> jax.Array:
            mapped = fitted["popular"][None, :] + alike(users) @ fitted["dual"]
            x = target_rows(few, users)
            count = jnp.sum(x, axis=1)
            nearest = jnp.clip(jnp.round(jnp.log2(jnp.maximum(count, 1.0))), 0, levels[-1])
            of_level = (nearest[None, :] == levels[:, None]) & (count > 0)[None, :]
            beyond = jnp.where(of_level[:, :, None], x[None] / shares(hp)[:, None, None] - mapped[None], 0.0)
            found = mapped + jnp.einsum("lbi,lij->bj", beyond, fitted["items"])
            return joint.everywhere(world, most, found, popularity(world)[None, :])

        return score

    return Program((*source_weights.stages(config, world), Solve("map", solve)), scores, folds_in=True)

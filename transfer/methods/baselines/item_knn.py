"""Items like those of the user: s(u, i) = Σ_j x_uj sim(j, i) over the method.neighbours items j most like i.

sim is the cosine over users, x_i · x_j / (|x_i| |x_j| + hp.shrinkage); the items j are the target's and, unless
method.domains=target, the sources'. (Sarwar et al. 2001) Where items x items does not fit, the neighbours are found a few
items at a time, and are exactly that many; else those as like as the last one count too.

Paper: Sarwar et al. (2001).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import histories
from transfer.solvers.joint import joint_rows, joint_width, over_rows, source_weights

NEEDS = Needs(tasks=("ranking",))
HP = {"shrinkage": Range(50.0, low=0), "source_weight": Range(1.0, low=0, by_source=True)}
CHUNK = 128  # items whose neighbours are found at once


class Settings(Method):
    domains: Literal["both", "target"] = "both"
    neighbours: int = Field(default=20, ge=1)


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    both = config.method.domains == "both"
    width = joint_width(world, both)
    neighbours = min(config.method.neighbours, width)
    if not histories.fits(world.n_items, width):
        return _few_at_a_time(world, both, neighbours)

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        def products(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return x[:, : world.n_items].T @ x, jnp.sum(x * x, axis=0)

        together, squares = over_rows(world, both, [1.0] * len(world.sources), products)
        norm = jnp.sqrt(squares)
        similarity = together / (norm[: world.n_items, None] * norm[None, :] + hp["shrinkage"] + 1e-9)
        items = jnp.arange(world.n_items)
        similarity = similarity.at[items, items].set(0.0)
        least = jax.lax.top_k(similarity, neighbours)[0][:, -1:]
        return {"similarity": jnp.where(similarity >= least, similarity, 0.0).T}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        return lambda users: joint_rows(world, both, source_weights(world, hp), users) @ done["items"]["similarity"]

    return Program((Solve("items", solve),), scores, folds_in=True)


def _few_at_a_time(world: World, both: bool, neighbours: int) -> Program:
    """The same without a dense matrix of items: places and likeness of the neighbours of every item [items, neighbours]."""

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        target = world.target.train
        domains = [target, *(side.train for side in world.sources if both)]
        norm = jnp.sqrt(jnp.concatenate([events.item_counts for events in domains]))

        def nearest(item: jax.Array) -> tuple[jax.Array, jax.Array]:
            chosen = (target.items == item).astype(jnp.float32)
            readers = jax.ops.segment_sum(chosen, target.users, target.n_users, indices_are_sorted=True)
            common = [jax.ops.segment_sum(readers[of.users], of.items, of.n_items) for of in domains]
            likeness = jnp.concatenate(common) / (norm[item] * norm + hp["shrinkage"] + 1e-9)
            return jax.lax.top_k(likeness.at[item].set(0.0), neighbours)

        likeness, places = jax.lax.map(nearest, jnp.arange(world.n_items), batch_size=CHUNK)
        return {"likeness": likeness, "places": places.astype(jnp.float32)}  # exact below 2^24

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        likeness, places = done["items"]["likeness"], done["items"]["places"].astype(jnp.int32)

        def score(users: jax.Array) -> jax.Array:
            x = joint_rows(world, both, source_weights(world, hp), users)
            add = lambda total, near: (total + x[:, near[0]] * near[1][None, :], None)  # noqa: E731
            return jax.lax.scan(add, jnp.zeros((x.shape[0], world.n_items)), (places.T, likeness.T))[0]

        return score

    return Program((Solve("items", solve),), scores, folds_in=True)

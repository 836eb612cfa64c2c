"""The source's rating pattern as a codebook, expanded to the target: no user or item in common, r̂ = b_u + b_i + u B vᵀ.

X ≈ U B Vᵀ of the source's deviations from its biases, U and V non-negative and orthogonal (`transfer.solvers.cocluster`); B
keeps what a cluster of users gives a cluster of items beyond the biases. In the target memberships alone are found: u_c ∝
exp(-hp.sharpness Σ_i (x_ui - (B vᵢᵀ)_c)²) over the user's ratings, and of items alike, in turns; soft where the paper's are
hard, so that who has few ratings stays between the clusters. hp.weight scales what is carried. The best of method.starts.

Paper: Li, Yang, Xue (2009), codebook transfer; Ding, Li, Peng, Park (2006), orthogonal tri-factorisation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task, stream
from transfer.solvers import biases, cocluster, histories

NEEDS = Needs(tasks=("rating",), source=True)
HP = {
    "weight": Range(1.0, low=0),  # of what is carried
    "sharpness": Range(1.0, low=0),  # of memberships; 0: all clusters alike
    "damping": Range(10.0, low=0),  # of item biases
    "user_damping": Range(5.0, low=0),
}


class Settings(Method):
    users: int = Field(default=8, ge=1)  # clusters of users
    items: int = Field(default=8, ge=1)  # and of items
    starts: int = Field(default=8, ge=1)  # random beginnings, of which the best is kept


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    sizes, starts = (config.method.users, config.method.items), config.method.starts
    histories.check_dense(world.n_users, max(world.n_items, world.sources[0].train.n_items), "method=codebook")

    def deviations(events: Interactions, hp: Hp) -> tuple[Params, jax.Array, jax.Array]:
        """Damped biases, x = r - μ - b_i - b_u [users, items], zero where unknown, and 1 where it is known."""
        items = biases.item_biases(events, hp["damping"])
        base = {**items, "user": biases.user_deviations(events, items, hp["user_damping"])}
        rest = biases.residuals(events, items) - base["user"][events.users]
        return base, histories.dense(events, rest), histories.dense(events, jnp.ones_like(rest))

    def best(candidates: tuple[jax.Array, Params]) -> Params:
        """The parameters of the start with the least error."""
        errors, params = candidates
        return jax.tree.map(lambda leaf: leaf[jnp.argmin(errors)], params)

    def learn(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        _, x, known = deviations(world.sources[0].train, hp)
        keys = jax.random.split(stream(key, "starts"), starts)
        return best(jax.lax.map(lambda key: cocluster.codebook(x, known, sizes, key), keys))

    def expand(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        base, x, known = deviations(world.target.train, hp)
        keys = jax.random.split(stream(key, "starts"), starts)
        pattern = done["codebook"]["pattern"]
        found = jax.lax.map(lambda key: cocluster.memberships(x, known, pattern, hp["sharpness"], key), keys)
        return {"base": base, **best(found)}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        target, pattern = done["target"], done["codebook"]["pattern"]
        carried = pattern @ target["items"].T
        return lambda users: biases.scores(target["base"], users) + hp["weight"] * target["users"][users] @ carried

    return Program((Solve("codebook", learn), Solve("target", expand)), scores)

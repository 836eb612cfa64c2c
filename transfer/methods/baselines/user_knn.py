"""Readers with the same taste in the source: s(u, i) = Σ_v sim(u, v) x_vi over the method.neighbours users v nearest to u.

sim is the cosine of source histories, a · b / (|a| |b| + hp.shrinkage), among users with target events; items that few
have weigh more by hp.inverse_frequency (`histories.item_weights`), those of each source by hp.source_weight, of several
times hp.source_weight_1, hp.source_weight_2, …: a source without weight is not there. For ratings the histories hold
deviations from μ + b_i + s·d_u and the sum is the weighted mean of the neighbours' deviations, damped by hp.damping.

Paper: Herlocker et al. (1999).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import biases, histories
from transfer.solvers.joint import source_weights
from transfer.solvers.likeness import readers
from transfer.solvers.products import products

NEEDS = Needs(source=True, shared_users=True)
HP = {
    "shrinkage": Range(3.0, low=0),
    "inverse_frequency": Range(0.0, low=0),  # the power of what rare items of a source weigh more
    "source_weight": Range(1.0, low=0, by_source=True),
    "damping": Range(10.0, low=0),  # of item biases
    "user_damping": Range(10.0, low=0),
    "neighbour_damping": Range(5.0, low=0),  # of the mean of their deviations
}


class Settings(Method):
    neighbours: int = Field(default=50, ge=1)


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    rating = config.task.name == "rating"
    neighbours = min(config.method.neighbours, readers(world).shape[0])

    def values_of(world: World, hp: Hp) -> Params:
        """What each event of the target says, and of every source, as strongly as its item weighs."""
        events = [world.target.train, *(side.train for side in world.sources)]
        if rating:
            base = biases.source_biases(world, hp)
            values = [biases.residuals(e, biases.item_biases(e, hp["damping"])) for e in events]
            values[0] = values[0] - base["user"][events[0].users]
        else:
            base, values = {}, [jnp.ones_like(e.ratings) for e in events]
        rare = [histories.item_weights(e, hp["inverse_frequency"]) for e in events[1:]]
        parts = zip(values[1:], rare, source_weights(world, hp), strict=True)
        return {"base": base, "values": [values[0], *(v * g * w for v, g, w in parts)]}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        known = done["histories"] if rating else values_of(world, hp)
        events, both = world.target.train, readers(world)  # of those who have both the others can learn
        sources = [side.train for side in world.sources]
        told, said = histories.joined(sources), histories.joined_values(sources, known["values"][1:])
        norm = jnp.sqrt(jnp.zeros(world.n_users).at[told.users].add(said * said))
        of_both = norm.at[both].get(mode="fill", fill_value=0.0)
        in_common = products(told, said, both)
        neighbour = (histories.user_counts(events) > 0).at[both].get(mode="fill", fill_value=False)

        def score(users: jax.Array) -> jax.Array:
            similarity = in_common(users)[0] / (norm[users][:, None] * of_both[None, :] + hp["shrinkage"] + 1e-9)
            similarity = jnp.where(neighbour[None, :] & (users[:, None] != both[None, :]), similarity, 0.0)
            least = jnp.maximum(jax.lax.top_k(similarity, neighbours)[0][:, -1:], 1e-9)
            nearest = jnp.where(similarity >= least, similarity, 0.0)
            weight = jnp.zeros((users.shape[0], world.n_users)).at[:, both].set(nearest, mode="drop")
            total = histories.times(weight, events, known["values"][0])
            if not rating:
                return total + 1e-6 * events.item_counts[None, :]  # popularity only where no neighbour speaks
            spoken = histories.times(weight, events, jnp.ones_like(events.ratings))
            return biases.scores(known["base"], users) + total / (spoken + hp["neighbour_damping"])

        return score

    if not rating:
        return Program((), scores, folds_in=True)
    return Program((Solve("histories", lambda world, done, hp, key: values_of(world, hp)),), scores)

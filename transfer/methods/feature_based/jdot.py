"""Transport labels too: min_f Σ_ij γ_ij [hp.distance |z_i - z_j|² / d + loss(y_i, f(x_j))] + loss(source).

γ is the transport plan between the batches for that same cost, found by Sinkhorn with hp.entropy and held fixed in the
gradient.

Paper: Courty, Flamary, Habrard, Rakotomamonjy (2017); with networks Damodaran et al. (2018).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning.adaptation import adapted
from transfer.learning.game import View, of_penalty
from transfer.program import Classifier, Hp, Needs, Program, Task
from transfer.solvers.classifiers import squared_distances
from transfer.solvers.transport import sinkhorn

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True, representation=True)


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    def losses(y: jax.Array, logits: jax.Array) -> jax.Array:
        """loss(y_i, f(x_j)) for all pairs [n, m]."""
        if world.multi_label:
            return jnp.sum(jax.nn.softplus(logits), axis=1)[None, :] - y @ logits.T
        return -y @ jax.nn.log_softmax(logits, axis=1).T

    def penalty(source: View, target: View, hp: Hp) -> jax.Array:
        assert source.y is not None
        distance = hp["distance"] * squared_distances(source.z, target.z) / source.z.shape[1]
        cost = distance + losses(source.y, target.logits)
        plan = sinkhorn(jax.lax.stop_gradient(cost), hp["entropy"] * jax.lax.stop_gradient(jnp.mean(cost)), rounds=30)
        return jnp.sum(jax.lax.stop_gradient(plan) * cost)

    return adapted(config, world, task, model, of_penalty(penalty))

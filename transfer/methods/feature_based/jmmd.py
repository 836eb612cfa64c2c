"""Match representation and prediction jointly: loss(source) + hp.weight · MMD² with the kernel k(z, z') · k(p, p').

p = softmax of the logits.

Paper: Long, Zhu, Wang, Jordan (2017), joint adaptation networks.
"""

from __future__ import annotations

import jax

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning.adaptation import adapted
from transfer.learning.game import View, of_penalty
from transfer.program import Classifier, Hp, Needs, Program, Task
from transfer.solvers.kernels import discrepancy, gaussians

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True, representation=True)


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    probability = jax.nn.sigmoid if world.multi_label else jax.nn.softmax

    def penalty(source: View, target: View, hp: Hp) -> jax.Array:
        p = probability(source.logits), probability(target.logits)
        return discrepancy(gaussians(source.z, target.z) * gaussians(*p), source.z.shape[0])

    return adapted(config, world, task, model, of_penalty(penalty))

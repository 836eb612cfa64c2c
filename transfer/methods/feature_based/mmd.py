"""Match the representations' distributions: loss(source) + hp.weight · MMD²(z_s, z_t), a sum of Gaussian kernels.

MMD² = mean k(z_s, z_s') + mean k(z_t, z_t') - 2 mean k(z_s, z_t); bandwidths are ¼ ... 4 times the median squared distance.

Paper: Long, Cao, Wang, Jordan (2015), deep adaptation networks; Gretton et al. (2012).
"""

from __future__ import annotations

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning import adaptation, game
from transfer.learning.adaptation import adapted
from transfer.learning.game import of_penalty
from transfer.program import Classifier, Needs, Program, Task
from transfer.solvers.kernels import mmd

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True, representation=True)
HP = {**adaptation.HP, **game.HP}
DEFAULTS = {"model": "mlp"}  # a representation that learns


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    return adapted(config, world, task, model, of_penalty(lambda source, target, hp: mmd(source.z, target.z)))

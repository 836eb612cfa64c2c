"""Adaptive batch normalisation: z ↦ (z - μ_d) / σ_d with the moments of each domain d, one network for all.

In training the moments are those of the batch, in prediction those of the domain's unlabelled examples.
Here on the representation under the head.

Paper: Li, Wang, Shi, Hou, Liu (2018), adaptive batch normalisation.
"""

from __future__ import annotations

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning import adaptation
from transfer.learning.adaptation import adapted
from transfer.program import Classifier, Needs, Program, Task

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True)
HP = adaptation.HP


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    return adapted(config, world, task, model, normalise=True)

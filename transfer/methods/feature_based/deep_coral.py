"""Match the covariances of the representations: loss(source) + hp.weight · |C_s - C_t|²_F / 4d².

Paper: Sun, Saenko (2016), Deep CORAL.
"""

from __future__ import annotations

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.evaluate.distance import coral_distance
from transfer.learning import adaptation, game
from transfer.learning.adaptation import adapted
from transfer.learning.game import of_penalty
from transfer.program import Classifier, Needs, Program, Range, Task

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True, representation=True)
HP = {**adaptation.HP, **game.HP, "weight": Range(10.0, low=0)}
DEFAULTS = {"model": "mlp"}  # a representation that learns


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    return adapted(config, world, task, model, of_penalty(lambda source, target, hp: coral_distance(source.z, target.z)))

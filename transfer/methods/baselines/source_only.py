"""No adaptation: the classifier learnt on the labelled source, W = argmin Σ_s loss(W x, y), applied to the target as it is.

Labelled target examples, where there are some, join with weight hp.target_weight ("ALL" and "WEIGHTED" of Daumé III 2007).
method.classifier=model trains the model by gradient, the others are convex.

Paper: Daumé III (2007), baselines.
"""

from __future__ import annotations

from typing import Literal

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning import adaptation
from transfer.learning.adaptation import Descent, adapted
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Needs, Program, Task

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True)
HP = {**adaptation.HP, **adaptation.MOMENTUM}


class Settings(Descent):
    # the model, trained by gradient; or convex ones, and nn: the nearest neighbour
    classifier: Literal["model", "ridge", "softmax", "svm", "svm_ovo", "nn"] = "model"


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    if config.method.classifier == "model":
        return adapted(config, world, task, model)
    return aligned(config, world, lambda *_: {}, lambda _, x: x, lambda _, x: x)

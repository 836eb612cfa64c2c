"""No transfer: the model trained on the target alone, min Σ_t loss(f(x_t), y_t). Every method is measured against it.

For classification it learns from the labelled target examples; method.classifier chooses
a convex one in place of the model.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config, Method
from transfer.data.examples.world import ExamplesWorld
from transfer.learning.adaptation import labelled
from transfer.learning.supervised import LEARNER_HP, AnyModel, data_of, supervised
from transfer.models.softmax import flat
from transfer.program import AnyWorld, Classifier, Done, Hp, Needs, Params, Program, Solve, Task
from transfer.solvers import classifiers

NEEDS = Needs(tasks=("rating", "ranking", "classification"), target_labels=True, next_item=True)
HP = LEARNER_HP


class Settings(Method):
    # for classification: the model, trained by gradient; or convex ones, and nn: the nearest neighbour
    classifier: Literal["model", "ridge", "softmax", "svm", "svm_ovo", "nn"] = "model"


def build(config: Config, world: AnyWorld, task: Task, model: AnyModel) -> Program:
    if not isinstance(model, Classifier) or config.method.classifier == "model":
        data = data_of(model, "target")
        fit = supervised("target", task, model, config.train.batch_size, data=data, heldout=lambda world: world.valid)
        return Program((fit,), fit.scores)

    def solve(world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
        few = labelled(world)
        weight = jnp.ones(few.y.shape[0])
        return classifiers.fit(config.method.classifier, flat(few.x), few.y, weight, hp["l2"], few.multi_label)

    return Program(
        (Solve("target", solve),),
        lambda world, done, hp: lambda inputs: classifiers.logits(done["target"], flat(inputs.x)),
    )

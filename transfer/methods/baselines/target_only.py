"""No transfer: the model trained on the target alone, min Σ_t loss(f(x_t), y_t). Every method is measured against it.

For classification it learns from the labelled target examples; method.classifier chooses a convex one in place of the
model. Given weights (model.weights or init_from) are tuned as method.strategy says, like those of a source in finetune.
With method.borrow=10 new and rare items take the mean of the ten nearest by their features (`transfer.learning.borrowing`).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.errors import TransferError
from transfer.learning import borrowing, strategies
from transfer.learning.adaptation import labelled
from transfer.learning.supervised import LEARNER_HP, AnyModel, data_of
from transfer.models.softmax import flat
from transfer.program import AnyWorld, Classifier, Done, Hp, Needs, Params, Program, Solve, Task
from transfer.solvers import classifiers

NEEDS = Needs(tasks=("rating", "ranking", "classification", "regression"), target_labels=True, next_item=True)
HP = LEARNER_HP


class Settings(strategies.Tuning, borrowing.Borrows):
    # for classification: the model, trained by gradient; or convex ones, and nn: the nearest neighbour
    classifier: Literal["model", "ridge", "softmax", "svm", "svm_ovo", "nn"] = "model"


def build(config: Config, world: AnyWorld, task: Task, model: AnyModel) -> Program:
    if not isinstance(model, Classifier) or config.method.classifier == "model":
        tuned = strategies.tuned(config.method, model)
        if config.method.strategy != "full" and not config.init_from and getattr(world, "pretrained", None) is None:
            raise TransferError(
                f"method.strategy={config.method.strategy} tunes given weights, and there are none; write "
                "model.weights=FILE, init_from=RUN_DIR or method.strategy=full, or take them from a source: method=finetune"
            )
        *first, last = strategies.stages(config.method, task, tuned, config.train.batch_size, data_of(model, "target"))
        last = borrowing.borrowing(config, world, last)
        return Program((*first, last), last.scores)

    def solve(world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
        few = labelled(world)
        weight = jnp.ones(few.y.shape[0])
        kind = config.method.classifier
        return classifiers.fit(kind, flat(few.x), few.y, weight, hp["l2"], few.multi_label, world.numeric)

    return Program(
        (Solve("target", solve),),
        lambda world, done, hp: lambda inputs: classifiers.logits(done["target"], flat(inputs.x)),
    )

"""Pre-train on the source, carry the body over, tune on the target: θ_s = argmin L_source, then min L_target from θ_s.

The body is the representation of users, or of examples and sequences; the head on it is the target's own. method.strategy:
full (all train), probe (the carried body stays; for recommendation users without target events then stay comparable with
those who have them), lp_ft (a probe, then all), gradual (layers join from the top down), lora and adapter (the body stays,
low-rank factors or a bottleneck are added). method.decay < 1 slows lower layers, hp.l2_sp pulls towards the carried body.

Paper: Yosinski et al. (2014), transferable features; Kumar et al. (2022), LP-FT; others in transfer.learning.strategies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld, Inputs
from transfer.learning import strategies
from transfer.learning.supervised import LEARNER_HP, AnyModel, data_of, supervised
from transfer.program import AnyWorld, Classifier, Done, Hp, Needs, Params, Program, Range, Task

NEEDS = Needs(
    tasks=("rating", "ranking", "classification", "regression"),
    source=True,
    shared_users=True,
    target_labels=True,
    representation=True,
    next_item=True,
)
HP = {**LEARNER_HP, "l2_sp": Range(0.0, low=0)}  # l2_sp: the pull towards the carried body


class Settings(strategies.Tuning):
    # both: next-item models learn from the histories of both domains together, and are told both later
    pretrain: Literal["source", "both"] = "source"
    strategy: strategies.Strategy = "probe"
    head: Literal["fresh", "carried"] = "fresh"  # carried: the source's head, where both have the same classes


def build(config: Config, world: AnyWorld, task: Task, model: AnyModel) -> Program:
    size, settings = config.train.batch_size, config.method
    tuned = strategies.tuned(settings, model)
    source = supervised(
        "source",
        task,
        model,
        size,
        data=data_of(model, settings.pretrain),
        heldout=(lambda world: world.sources[0].stop) if settings.pretrain == "source" else (lambda world: world.valid),
    )

    def carry(world: AnyWorld, done: Done, fresh: Params, key: jax.Array) -> Params:
        body, head = done["source"]["body"], fresh["head"]
        if settings.pretrain == "both":  # the target's items are among those that were learnt
            head = done["source"]["head"]
        elif settings.head == "carried":
            head = strategies.carried_head(head, done["source"]["head"])
        return {"body": body if tuned is model else {**fresh["body"], "carried": body}, "head": head}

    data = data_of(model, "inference" if settings.pretrain == "both" else "target")
    pull = partial(strategies.towards, "source")
    stages = (source, *strategies.stages(settings, task, tuned, size, data, carry, pull))
    if not isinstance(tuned, Classifier):
        return Program(stages, stages[-1].scores)

    def features(world: ExamplesWorld, done: Done, hp: Hp) -> Callable[[Inputs], jax.Array]:
        return lambda inputs: tuned.features(done["target"]["body"], inputs.x)

    return Program(stages, stages[-1].scores, features=features)

"""Feature alignment in closed form: take every source towards the target by a map, then fit a classifier on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from transfer.config.declared import L2
from transfer.config.schema import Config, Method
from transfer.data.examples.world import Examples, ExamplesWorld, Inputs
from transfer.learning.source_mixture import SourceLogits, learn_shares, mixture_logits
from transfer.models.softmax import flat
from transfer.program import Done, Hp, Params, Program, Range, Solve
from transfer.solvers import classifiers

HP = {"l2": L2, "target_weight": Range(1.0, low=0)}
Kind = Literal["ridge", "softmax", "svm", "svm_ovo", "nn"]  # svm: squared hinge; nn: the nearest neighbour
FeatureMap = Callable[[Params, jax.Array], jax.Array]  # (map, x [B, d]) -> z [B, k]


class Settings(Method):
    """Settings of every method with a closed-form map: which classifier learns on the mapped source."""

    classifier: Kind = "svm"


def aligned(
    config: Config,
    world: ExamplesWorld,
    solve: Callable[[Examples, jax.Array, Examples | None, Hp, jax.Array], Params],
    source: FeatureMap,
    target: FeatureMap,
    weigh: Callable[[Params, jax.Array], jax.Array] | None = None,
) -> Program:
    """Map every source towards the target, fit a classifier on it, and mix those of several sources.

    solve(source's flat examples, target's unlabelled x, its labelled examples or None, hp, key) -> map;
    source(map, x) and target(map, x) take either domain to the common space; weigh(map, x) is the importance of source
    examples. Labelled target examples, where there are some, join the training set with weight hp.target_weight each.
    """
    kind = config.method.classifier

    def maps(world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
        few = world.labelled and _flat(world.labelled)
        x = flat(world.unlabelled)
        return [solve(_flat(side.train), x, few, hp, jax.random.fold_in(key, i)) for i, side in enumerate(world.sources)]

    def classify(world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
        fitted = []
        for map_, side in zip(done["map"], world.sources, strict=True):
            x, y = flat(side.train.x), side.train.y
            z, weight = source(map_, x), weigh(map_, x) if weigh else jnp.ones(x.shape[0])
            if world.labelled is not None:
                few = target(map_, flat(world.labelled.x))
                z, y = jnp.concatenate([z, few]), jnp.concatenate([y, world.labelled.y])
                weight = jnp.concatenate([weight, jnp.full(few.shape[0], hp["target_weight"])])
            fitted.append(classifiers.fit(kind, z, y, weight, hp["l2"], world.multi_label, world.numeric))
        return fitted

    def common(map_: Params, inputs: Inputs) -> jax.Array:
        x = flat(inputs.x)
        return jnp.where((inputs.domain == 0)[:, None], target(map_, x), source(map_, x))

    def source_logits(world: ExamplesWorld, done: Done, hp: Hp) -> SourceLogits:
        pairs = list(zip(done["map"], done["classifier"], strict=True))
        return lambda inputs: [classifiers.logits(fitted, common(map_, inputs)) for map_, fitted in pairs]

    stages = (Solve("map", maps), Solve("classifier", classify))
    return Program(
        (*stages, Solve("mix", partial(learn_shares, source_logits))) if len(world.sources) > 1 else stages,
        lambda world, done, hp: mixture_logits(world, done, source_logits(world, done, hp)),
        features=lambda world, done, hp: lambda inputs: common(done["map"][0], inputs),
    )


def _flat(examples: Examples) -> Examples:
    return Examples(flat(examples.x), examples.y, examples.multi_label)

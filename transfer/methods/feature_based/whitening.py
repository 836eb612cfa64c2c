"""Both domains to the same first two moments: x ↦ (x - μ_d) (C_d + λI)^-½ with each domain's own μ_d and C_d.

λ is hp.shrinkage: 0 whitens, large values only centre and scale.

Paper: Sun, Feng, Saenko (2016), the normalising half.
"""

from __future__ import annotations

from functools import partial

import jax

from transfer.config.schema import Config
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning import alignment
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Hp, Needs, Params, Program, Range, Task
from transfer.solvers.spectra import power, spectrum

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True)
HP = {**alignment.HP, "shrinkage": Range(1.0, low=0)}
Settings = alignment.Settings


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        return {"source": spectrum(source.x), "target": spectrum(target), "shrinkage": hp["shrinkage"]}

    def whiten(domain: str, map_: Params, x: jax.Array) -> jax.Array:
        moments = map_[domain]
        return power(moments, x - moments["mean"][None, :], -0.5, map_["shrinkage"])

    return aligned(config, world, solve, partial(whiten, "source"), partial(whiten, "target"))

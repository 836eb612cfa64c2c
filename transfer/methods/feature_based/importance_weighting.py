"""Weight source examples by w(x) ≈ p_target(x) / p_source(x), clipped: min_W Σ_i w(x_i) loss(W x_i, y_i).

method.ratio=discriminator: w = n_s/n_t · P(target | x) / P(source | x) of a logistic regression (hp.ratio_l2).
kliep: w(x) = Σ_j α_j k(x, x_j) ≥ 0 on at most 200 target examples, max Σ_targets log w(x) with mean w = 1 on the source.
kmm: min_w |mean_i w_i φ(x_i) - mean_j φ(x_j)|² in a Gaussian kernel's space, 0 ≤ w ≤ hp.clip, mean w = 1.
w is clipped at hp.clip and has mean 1.

Paper: Shimodaira (2000); Bickel, Brückner, Scheffer (2009); KLIEP: Sugiyama et al. (2008); KMM: Huang et al. (2006).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.learning import alignment
from transfer.learning.alignment import aligned
from transfer.program import Classifier, Hp, Needs, Params, Program, Range, Task
from transfer.solvers import ratios

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True)
HP = {**alignment.HP, "clip": Range(10.0, low=0, above=True), "ratio_l2": Range(0.01, low=0)}


class Settings(alignment.Settings):
    ratio: Literal["discriminator", "kliep", "kmm"] = "discriminator"


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    estimate = ratios.ESTIMATES[config.method.ratio]

    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        clipped = jnp.minimum(estimate(source.x, target, hp), hp["clip"])
        return {"weight": clipped / jnp.mean(clipped)}

    return aligned(config, world, solve, lambda _, x: x, lambda _, x: x, weigh=lambda map_, x: map_["weight"])

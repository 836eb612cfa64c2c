"""Weight source examples by w(x) ≈ p_target(x) / p_source(x), clipped: min_W Σ_i w(x_i) loss(W x_i, y_i).

method.ratio=discriminator: w = n_s/n_t · P(target | x) / P(source | x) of a logistic regression (hp.ratio_l2).
kliep: w(x) = Σ_j α_j k(x, x_j) ≥ 0 on at most 200 target examples, max Σ_targets log w(x) with mean w = 1 on the source.
w is clipped at hp.clip and has mean 1.

Paper: Shimodaira (2000); Bickel, Brückner, Scheffer (2009); KLIEP: Sugiyama et al. (2008).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer import adapt
from transfer.adapt import aligned
from transfer.config import Config
from transfer.data.examples import Examples, ExamplesWorld
from transfer.evaluate.distance import median_of_some
from transfer.models import classifiers
from transfer.program import Classifier, Hp, Needs, Params, Program, Task

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True)
CENTRES, STEPS = 200, 200


class Settings(adapt.Settings):
    ratio: Literal["discriminator", "kliep"]


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    estimate = {"discriminator": discriminator, "kliep": kliep}[config.method.ratio]

    def solve(source: Examples, target: jax.Array, few: Examples | None, hp: Hp, key: jax.Array) -> Params:
        clipped = jnp.minimum(estimate(source.x, target, hp), hp["clip"])
        return {"weight": clipped / jnp.mean(clipped)}

    return aligned(config, world, solve, lambda _, x: x, lambda _, x: x, weigh=lambda map_, x: map_["weight"])


def discriminator(x: jax.Array, target: jax.Array, hp: Hp) -> jax.Array:
    """w(x_i) of the source examples x [n, d] by a logistic regression that tells them from the target's [m, d]."""
    n, m = x.shape[0], target.shape[0]
    y = jnp.concatenate([jnp.zeros(n), jnp.ones(m)])[:, None]
    both = jnp.concatenate([x, target])
    fitted = classifiers.fit("softmax", both, y, jnp.ones(n + m), hp["ratio_l2"], multi_label=True)
    return n / m * jnp.exp(jnp.clip(classifiers.logits(fitted, x)[:, 0], -20.0, 20.0))


def kliep(x: jax.Array, target: jax.Array, hp: Hp) -> jax.Array:
    """w(x_i) by multiplicative updates, α_j ← α_j · (gradient_j / its normalisation), which keep α ≥ 0 and mean w = 1."""
    centres = target[:: max(1, target.shape[0] // CENTRES)][:CENTRES]
    here, there = classifiers.squared_distances(x, centres), classifiers.squared_distances(target, centres)
    width = median_of_some(there) + 1e-12
    here, there = jnp.exp(-here / width), jnp.exp(-there / width)
    total = jnp.mean(here, axis=0) + 1e-12

    def update(alpha: jax.Array, _: None) -> tuple[jax.Array, None]:
        gradient = jnp.mean(there / (there @ alpha + 1e-12)[:, None], axis=0)
        return alpha * gradient / total, None

    alpha, _ = jax.lax.scan(update, jnp.full(centres.shape[0], 1.0) / jnp.sum(total), None, length=STEPS)
    return here @ alpha

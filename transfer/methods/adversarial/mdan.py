"""Several sources, a discriminator for each, one classifier: min_z,f Σ_i λ_i [loss(source i) - w r · min_D loss_D(i)].

method.combine=max: λ is 1 for the source whose bracket is the largest, else 0 (hard-max); soft: λ_i ∝ exp(hp.sharpness ·
bracket_i), the gradient of a log-sum-exp. Brackets are those of the batch, fixed in λ; every D learns at its full rate.
loss_D and r are those of dann, which this is with one source.

Paper: Zhao, Zhang, Wu, Moura, Costeira, Gordon (2018), MDAN.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning import adaptation, discriminator, game
from transfer.learning.adaptation import adapted
from transfer.learning.discriminator import discriminated
from transfer.program import Classifier, Hp, Needs, Program, Range, Task

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True, representation=True)
HP = {
    **adaptation.HP,
    **adaptation.MOMENTUM,
    **game.HP,
    **discriminator.HP,
    "sharpness": Range(1.0, low=0),  # of the shares of the sources; 0: equal ones
}
DEFAULTS = {
    "model": "mlp",
    "train": {"keep": "last"},
}  # a representation that learns; labels of the source do not see how the target fares


class Settings(discriminator.Settings):
    combine: Literal["max", "soft"] = "soft"  # max: the source with the largest bound alone


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    def shares(losses: jax.Array, domains: jax.Array, weight: jax.Array, hp: Hp) -> jax.Array:
        brackets, count = losses - weight * domains, losses.shape[0]
        if config.method.combine == "max":
            return count * jax.nn.one_hot(jnp.argmax(brackets), count)
        return count * jax.nn.softmax(hp["sharpness"] * brackets)

    return adapted(config, world, task, model, discriminated(config.method, shares=shares, one_head=True))

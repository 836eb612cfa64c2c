"""Wasserstein distance guided representation: min_z,f loss + w r · max_c [E_s c(z) - E_t c(z) - hp.gradient_penalty · G].

G = E (|∇c(z)| - 1)² on the examples of both domains and on the lines between them: c is a critic with slope 1, so that the
difference is the domains' Wasserstein-1 distance. It takes method.steps updates of every batch. w r as in dann.

Paper: Shen, Qu, Zhang, Yu (2018), WDGRL; Gulrajani et al. (2017), the penalty.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.examples.world import ExamplesWorld
from transfer.learning import adaptation, game
from transfer.learning.adaptation import adapted
from transfer.learning.discriminator import apply, between, domain_accuracy, init, reverse, slopes
from transfer.learning.game import Game, View
from transfer.program import Classifier, Hp, Needs, Params, Program, Range, Task, Turn

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True, representation=True)
HP = {**adaptation.HP, **game.HP, **game.PLAYER, "gradient_penalty": Range(10.0, low=0)}
DEFAULTS = {
    "model": "mlp",
    "train": {"keep": "last"},
}  # a representation that learns; labels of the source do not see how the target fares


class Settings(Method):
    width: int = Field(default=64, ge=1)  # of the critic's hidden layers
    depth: int = Field(default=1, ge=0)  # their number
    steps: int = Field(default=5, ge=1)  # updates of the critic in a step


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    method = config.method

    def critic(own: Params, z: jax.Array) -> jax.Array:
        return apply(own, z)[:, 0]

    def loss(own: Params, source: View, target: View, weight: jax.Array, hp: Hp, key: jax.Array) -> jax.Array:
        here, there = (jnp.mean(critic(own, reverse(view.z, weight))) for view in (source, target))
        z_s, z_t = (jax.lax.stop_gradient(view.z) for view in (source, target))
        on = jnp.concatenate([z_s, z_t, between(z_s, z_t, key)])
        slope = jnp.sqrt(slopes(lambda z: critic(own, z), on) + 1e-12)
        return there - here + hp["gradient_penalty"] * jnp.mean(jnp.square(slope - 1))

    def watch(own: Params, source: View, target: View, hp: Hp) -> dict[str, jax.Array]:
        """The distance, and how well the middle between both means tells the domains."""
        here, there = critic(own, source.z), critic(own, target.z)
        middle = (jnp.mean(here) + jnp.mean(there)) / 2
        distance = jnp.mean(here) - jnp.mean(there)
        return {"domain_loss": -distance, "domain_accuracy": domain_accuracy(here - middle, there - middle)}

    game = Game(
        init=lambda key, width, classes: init(key, width, method.width, method.depth),
        loss=loss,
        watch=watch,
        turns=(Turn(loss, ("game",), method.steps - 1),) if method.steps > 1 else (),
    )
    return adapted(config, world, task, model, game)

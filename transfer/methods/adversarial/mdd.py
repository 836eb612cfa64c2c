"""Margin disparity discrepancy: an adversary f' that agrees with f on the source and not on the target, for all margins.

min_z,f loss - w r · min_f' [hp.margin · E_s -log p'(ŷ) + E_t -log (1 - p'(ŷ))], where ŷ is the class that f says and p' are
the probabilities of f'; w r as in dann. With several labels per example each has its yes or no.

Paper: Zhang, Liu, Long, Jordan (2019), MDD.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.examples.world import ExamplesWorld
from transfer.learning.adaptation import adapted
from transfer.learning.discriminator import apply, init, reverse
from transfer.learning.game import Game, View
from transfer.program import Classifier, Hp, Needs, Params, Program, Task, Turn

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True, representation=True)


class Settings(Method):
    width: int = Field(ge=1)
    depth: int = Field(ge=0)
    steps: int = Field(ge=1)


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    method = config.method

    def decision(view: View) -> jax.Array:
        """What f says: the class [B, 1], or yes or no for each [B, classes]."""
        return view.logits > 0 if world.multi_label else jnp.argmax(view.logits, axis=1, keepdims=True)

    def unlikely(adversary: jax.Array, classes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """-log p'(ŷ) and -log (1 - p'(ŷ)) of the decisions: [B] each."""
        if world.multi_label:
            signed = jnp.where(classes, adversary, -adversary)
            return jnp.sum(jax.nn.softplus(-signed), axis=1), jnp.sum(jax.nn.softplus(signed), axis=1)
        logit = jnp.take_along_axis(adversary, classes, axis=1)[:, 0]
        others = jax.nn.logsumexp(adversary, axis=1, where=jnp.arange(adversary.shape[1])[None, :] != classes)
        return jax.nn.softplus(others - logit), jax.nn.softplus(logit - others)

    def loss(own: Params, source: View, target: View, weight: jax.Array, hp: Hp, key: jax.Array) -> jax.Array:
        agrees, _ = unlikely(apply(own, reverse(source.z, weight)), decision(source))
        _, differs = unlikely(apply(own, reverse(target.z, weight)), decision(target))
        return hp["margin"] * jnp.mean(agrees) + jnp.mean(differs)

    def watch(own: Params, source: View, target: View, hp: Hp) -> dict[str, jax.Array]:
        """How often f' says something else than f, and the domain accuracy of taking that for the target."""

        def disparity(view: View) -> jax.Array:
            adversary = View(view.x, view.z, apply(own, view.z), None)
            return jnp.mean(jnp.any(decision(adversary) != decision(view), axis=1).astype(jnp.float32))

        here, there = disparity(source), disparity(target)
        zero = jnp.float32(0.0)
        value = loss(own, source, target, zero, hp, jax.random.key(0))
        accuracy = (1 - here + there) / 2
        return {"domain_loss": value, "domain_accuracy": accuracy, "disparity_source": here, "disparity_target": there}

    game = Game(
        init=lambda key, width, classes: init(key, width, method.width, method.depth, classes),
        loss=loss,
        watch=watch,
        turns=(Turn(loss, ("game",), method.steps - 1),) if method.steps > 1 else (),
    )
    return adapted(config, world, task, model, game)

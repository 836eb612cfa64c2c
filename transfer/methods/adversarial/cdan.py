"""Conditional adversarial network: the discriminator sees z ⊗ p, the representation times the predicted probabilities.

min_z,f loss - w r · min_D ½ [E_s -log D(z ⊗ p) + E_t -log (1 - D(z ⊗ p))], as in dann; p is fixed in the gradient, as in
the authors' code. method.entropy: examples count by 1 + exp(-H(p)), so that sure ones lead (CDAN+E). method.random > 0:
that many products (R₁ᵀz) ⊙ (R₂ᵀp) / √random of fixed Gaussian projections stand for z ⊗ p.

Paper: Long, Cao, Wang, Jordan (2018), CDAN.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning import adaptation, discriminator, game
from transfer.learning.adaptation import adapted
from transfer.learning.discriminator import discriminated
from transfer.learning.game import View
from transfer.program import Classifier, Needs, Program, Task, stream

NEEDS = Needs(tasks=("classification",), source=True, same_labels=True, representation=True)
HP = {**adaptation.HP, **adaptation.MOMENTUM, **game.HP, **discriminator.HP}
DEFAULTS = {
    "model": "mlp",
    "train": {"keep": "last"},
}  # a representation that learns; labels of the source do not see how the target fares


class Settings(discriminator.Settings):
    entropy: bool = True  # sure examples count more
    random: int = Field(default=0, ge=0)  # products of random projections in place of z ⊗ p; 0: all of it


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    random = config.method.random

    def probabilities(view: View) -> jax.Array:
        return jax.nn.sigmoid(view.logits) if world.multi_label else jax.nn.softmax(view.logits, axis=1)

    def seen(view: View) -> jax.Array:
        return products(view.z, jax.lax.stop_gradient(probabilities(view)), random)

    def sureness(view: View) -> jax.Array:
        """1 + exp(-H(p)) [B]; with several labels H is the mean over them."""
        p = probabilities(view)
        if world.multi_label:
            entropy = jnp.mean(-p * jnp.log(p + 1e-7) - (1 - p) * jnp.log1p(1e-7 - p), axis=1)
        else:
            entropy = -jnp.sum(p * jnp.log(p + 1e-7), axis=1)
        return 1 + jnp.exp(-entropy)

    game = discriminated(
        config.method,
        seen,
        inputs=lambda width, classes: random or width * classes,
        weigh=sureness if config.method.entropy else None,
    )
    return adapted(config, world, task, model, game)


def products(z: jax.Array, p: jax.Array, random: int) -> jax.Array:
    """z ⊗ p, or so many random products with its inner products in expectation: [B, d], [B, c] -> [B, d c or random]."""
    if not random:
        return (z[:, :, None] * p[:, None, :]).reshape(p.shape[0], -1)
    of_z, of_p = (
        jax.random.normal(stream(jax.random.key(0), name), (x.shape[1], random)) for name, x in (("z", z), ("p", p))
    )
    return (z @ of_z) * (p @ of_p) / jnp.sqrt(jnp.float32(random))

"""model=caser: convolutions over the last steps, as over an image of steps × vector entries; s(i) = z_t · v_i + b_i.

Horizontal filters see h = 1 … `span` successive steps whole and keep their strongest answer among the last `span` steps;
vertical ones weigh the steps entry by entry; a dense layer joins both. Here every position is the end of such an image, so
that all of a window trains at once, and there is no vector of the user: a reader is known by the history alone.

Paper: Tang, Wang (2018), Caser.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from transfer.models import item_tables
from transfer.models.item_tables import sequence_model
from transfer.program import SequenceModel, Steps

TASKS = ("ranking",)


HP, DEFAULTS = item_tables.HP, item_tables.DEFAULTS


class Settings(item_tables.Settings):
    span: int = Field(default=5, ge=1)  # steps that a prediction sees
    horizontal: int = Field(default=16, ge=1)  # filters of each height
    vertical: int = Field(default=4, ge=1)


class Convolutions(nnx.Module):
    """Steps -> z [B, L, dim]."""

    def __init__(self, dim: int, span: int, horizontal: int, vertical: int, rngs: nnx.Rngs):
        self.span = span
        for h in range(1, span + 1):
            setattr(self, f"horizontal{h}", nnx.Linear(h * dim, horizontal, rngs=rngs))
        self.vertical = nnx.Linear(span, vertical, use_bias=False, rngs=rngs)
        self.last = nnx.Linear(span * horizontal + vertical * dim, dim, rngs=rngs)

    def __call__(self, steps: Steps) -> jax.Array:
        length, span = steps.vectors.shape[1], self.span
        padded = jnp.pad(steps.vectors, ((0, 0), (span - 1, 0), (0, 0)))
        image = jnp.stack([padded[:, k : k + length] for k in range(span)], axis=2)  # [B, L, span, d]
        there = steps.position[:, :, None] >= jnp.arange(span - 1, -1, -1)[None, None]
        image = jnp.where(there[..., None], image, 0.0)  # zero before the history begins
        strongest = []
        for h in range(1, span + 1):
            parts = [image[:, :, k : k + h].reshape(*image.shape[:2], -1) for k in range(span - h + 1)]
            answers = getattr(self, f"horizontal{h}")(jnp.stack(parts, axis=2))
            strongest.append(jnp.max(jax.nn.relu(answers), axis=2))
        last = jnp.moveaxis(image, 2, 3)
        weighed = self.vertical(last).reshape(*image.shape[:2], -1)
        return jax.nn.relu(self.last(jnp.concatenate([*strongest, weighed], axis=2)))


def build(settings: Settings) -> SequenceModel:
    def make(rngs: nnx.Rngs) -> Convolutions:
        return Convolutions(settings.dim, settings.span, settings.horizontal, settings.vertical, rngs)

    return sequence_model(settings, make, ())

"""model=cnn: two 3 x 3 convolutions with pooling and a dense layer as representation. Flax NNX through split and merge.

Convolutions are products of a matrix of patches: on CPUs the gradients of XLA's own ones take twenty times as long.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from transfer.config.schema import Model
from transfer.errors import TransferError
from transfer.models import modules
from transfer.models.softmax import flat, head, logits
from transfer.program import Classifier, Params

TASKS = ("classification",)
CHANNELS = (16, 32)


class Settings(Model):
    dim: int = Field(default=64, ge=1)  # width of the representation


class Convolutions(nnx.Module):
    """Images float32 [B, height, width, channels] -> z [B, dim]."""

    def __init__(self, shape: tuple[int, ...], dim: int, rngs: nnx.Rngs):
        height, width, channels = shape
        self.first = nnx.Linear(9 * channels, CHANNELS[0], rngs=rngs)
        self.second = nnx.Linear(9 * CHANNELS[0], CHANNELS[1], rngs=rngs)
        self.dense = nnx.Linear((height // 4) * (width // 4) * CHANNELS[1], dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in (self.first, self.second):
            x = halved(jax.nn.relu(layer(patches(x))))
        return jax.nn.relu(self.dense(flat(x)))


def patches(x: jax.Array) -> jax.Array:
    """Every pixel's 3 x 3 surroundings, zero beyond the edge: [B, height, width, c] -> [B, height, width, 9 c]."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1)


def halved(x: jax.Array) -> jax.Array:
    """The maximum of every 2 x 2 pixels: [B, height, width, channels] -> [B, height // 2, width // 2, channels]."""
    count, height, width, channels = x.shape
    squares = x[:, : height // 2 * 2, : width // 2 * 2].reshape(count, height // 2, 2, width // 2, 2, channels)
    return jnp.max(squares, axis=(2, 4))


def build(settings: Settings) -> Classifier:
    def body(key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
        if len(shape) != 3 or min(shape[:2]) < 4:
            raise TransferError(
                f"model=cnn needs images of 4 x 4 pixels or more, and the inputs have shape {list(shape)}; "
                "choose model=mlp or softmax, or domain.features that are images"
            )
        return modules.init(partial(Convolutions, shape, settings.dim), key)

    def features(body: Params, x: jax.Array) -> jax.Array:
        return modules.apply(partial(Convolutions, x.shape[1:], settings.dim), body, x)

    return Classifier(body=body, head=head, features=features, logits=logits, layers=("first", "second", "dense"))

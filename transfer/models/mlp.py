"""model=mlp: one hidden layer as representation, z = a(W x + b), softmax on it. Flax NNX through split and merge."""

from __future__ import annotations

from typing import Literal

import jax
from flax import nnx
from pydantic import Field

from transfer.config.schema import Model
from transfer.models import modules
from transfer.models.softmax import flat, head, logits
from transfer.program import Classifier, Params

TASKS = ("classification",)


class Settings(Model):
    dim: int = Field(default=64, ge=1)  # width of the hidden layer, the representation
    activation: Literal["relu", "sigmoid", "tanh"] = "relu"


def build(settings: Settings) -> Classifier:
    activation = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jax.nn.tanh}[settings.activation]

    def body(key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
        width = flat(jax.numpy.zeros((1, *shape))).shape[1]
        return modules.init(lambda rngs: nnx.Linear(width, settings.dim, rngs=rngs), key)

    def features(body: Params, x: jax.Array) -> jax.Array:
        """x [B, ...] -> z [B, dim]."""
        return activation(logits(body, flat(x)))

    return Classifier(body=body, head=head, features=features, logits=logits, sparse=True)

"""model=mlp: one hidden layer as representation, z = relu(W x + b), softmax on it. Flax NNX through split and merge."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx

from transfer import config
from transfer.models import modules
from transfer.models.softmax import flat, head, logits
from transfer.program import Classifier, Params

TASKS = ("classification",)


def build(settings: config.Model) -> Classifier:
    def body(key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
        width = flat(jax.numpy.zeros((1, *shape))).shape[1]
        return modules.init(_layer(width, settings.dim), key)

    return Classifier(body=body, head=head, features=features, logits=logits)


def features(body: Params, x: jax.Array) -> jax.Array:
    """x [B, ...] -> z [B, dim]."""
    return jax.nn.relu(modules.apply(_layer(*body["kernel"].shape), body, flat(x)))


def _layer(inputs: int, dim: int) -> Callable[[nnx.Rngs], nnx.Linear]:
    return lambda rngs: nnx.Linear(inputs, dim, rngs=rngs)

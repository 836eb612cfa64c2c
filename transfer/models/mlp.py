"""model=mlp: one hidden layer as representation, z = relu(W x + b), softmax on it. Flax NNX through split and merge."""

from __future__ import annotations

import jax
from flax import nnx

from transfer import config
from transfer.models.softmax import flat, head, logits
from transfer.program import Classifier, Params

TASKS = ("classification",)


def build(settings: config.Model) -> Classifier:
    def body(key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
        width = flat(jax.numpy.zeros((1, *shape))).shape[1]
        return nnx.to_pure_dict(nnx.state(nnx.Linear(width, settings.dim, rngs=nnx.Rngs(key)), nnx.Param))

    return Classifier(body=body, head=head, features=features, logits=logits)


def features(body: Params, x: jax.Array) -> jax.Array:
    """x [B, ...] -> z [B, dim]."""
    inputs, dim = body["kernel"].shape
    graph, state = nnx.split(nnx.eval_shape(lambda: nnx.Linear(inputs, dim, rngs=nnx.Rngs(0))))
    nnx.replace_by_pure_dict(state, body)
    return jax.nn.relu(nnx.merge(graph, state)(flat(x)))

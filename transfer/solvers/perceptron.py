"""A perceptron with one hidden layer, y = W₂ tanh(W₁ x + b₁) + b₂, in Flax NNX used through split and merge only."""

from __future__ import annotations

import jax
from flax import nnx

from transfer.program import Params


class Perceptron(nnx.Module):
    """x float32 [B, inputs] -> y float32 [B, outputs]."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(inputs, hidden, rngs=rngs)
        self.output = nnx.Linear(hidden, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.output(jax.nn.tanh(self.hidden(x)))


def init(key: jax.Array, inputs: int, hidden: int, outputs: int) -> Params:
    """Fresh parameters as nested dicts."""
    return nnx.to_pure_dict(nnx.state(Perceptron(inputs, hidden, outputs, nnx.Rngs(key)), nnx.Param))


def apply(params: Params, x: jax.Array) -> jax.Array:
    """The perceptron with these parameters at x; its sizes are read off the parameters."""
    inputs, hidden = params["hidden"]["kernel"].shape
    outputs = params["output"]["bias"].shape[0]
    module = nnx.eval_shape(lambda: Perceptron(inputs, hidden, outputs, nnx.Rngs(0)))
    graph, state = nnx.split(module)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)(x)

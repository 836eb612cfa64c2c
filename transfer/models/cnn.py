"""model=cnn: two 3 x 3 convolutions with pooling and a dense layer as representation. Flax NNX through split and merge."""

from __future__ import annotations

import jax
from flax import nnx

from transfer import config
from transfer.errors import TransferError
from transfer.models.softmax import flat, head, logits
from transfer.program import Classifier, Params

TASKS = ("classification",)
CHANNELS = (16, 32)


class Convolutions(nnx.Module):
    """Images float32 [B, height, width, channels] -> z [B, dim]."""

    def __init__(self, shape: tuple[int, ...], dim: int, rngs: nnx.Rngs):
        height, width, channels = shape
        self.first = nnx.Conv(channels, CHANNELS[0], (3, 3), rngs=rngs)
        self.second = nnx.Conv(CHANNELS[0], CHANNELS[1], (3, 3), rngs=rngs)
        self.dense = nnx.Linear((height // 4) * (width // 4) * CHANNELS[1], dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in (self.first, self.second):
            x = nnx.max_pool(jax.nn.relu(layer(x)), (2, 2), (2, 2))
        return jax.nn.relu(self.dense(flat(x)))


def build(settings: config.Model) -> Classifier:
    def body(key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
        if len(shape) != 3 or min(shape[:2]) < 4:
            raise TransferError(
                f"model=cnn needs images of 4 x 4 pixels or more, and the inputs have shape {list(shape)}; "
                "choose model=mlp or softmax, or domain.features that are images"
            )
        return nnx.to_pure_dict(nnx.state(Convolutions(shape, settings.dim, nnx.Rngs(key)), nnx.Param))

    def features(body: Params, x: jax.Array) -> jax.Array:
        graph, state = nnx.split(nnx.eval_shape(lambda: Convolutions(x.shape[1:], settings.dim, nnx.Rngs(0))))
        nnx.replace_by_pure_dict(state, body)
        return nnx.merge(graph, state)(x)

    return Classifier(body=body, head=head, features=features, logits=logits, layers=("first", "second", "dense"))

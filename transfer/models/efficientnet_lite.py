"""model=efficientnet_lite: inverted bottlenecks, y = x + project(relu6(depthwise(relu6(expand(x))))). Flax NNX.

EfficientNet-Lite0: EfficientNet-B0 without squeeze-excite, with activations min(max(x, 0), 6).

Paper: Tan, Le (2019), EfficientNet; Sandler et al. (2018), inverted bottlenecks; He et al. (2015), the initial weights.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from transfer.config.schema import Model
from transfer.data.examples.world import ExamplesWorld
from transfer.errors import TransferError
from transfer.models import modules
from transfer.models.in_parts import in_parts
from transfer.models.softmax import head, logits
from transfer.models.windows_of_images import depthwise, seen
from transfer.program import Classifier, Params
from transfer.storage import weights
from transfer.storage.packaged import located

TASKS = ("classification",)
EPSILON = 1e-3
PART = 32  # images at once
# Of each stage: blocks, size of the depthwise window, stride of the first block, how much wider its inside is, channels.
STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
BLOCKS = tuple((size, stride if i == 0 else 1, widen, out) for n, size, stride, widen, out in STAGES for i in range(n))
ENDS = (4, 7, 10, 14, 15)  # blocks whose maps `encoded` reads beside the last one: the ends of stages
STEM, WIDTH = 32, 1280  # channels of the first convolution, width of the representation
LAYERS = ("stem", *(f"block{i}" for i in range(len(BLOCKS))), "top")


class Settings(Model):
    # lite0: the installed package with the weights of ImageNet; or a local .safetensors, .npz or .pth file in its names
    weights: str | None = None
    # kept: scale and offset of batch normalisation train, its stored statistics do not; frozen: all of it stays
    batch_norm: Literal["kept", "frozen"] = "kept"


class Convolution(nnx.Module):
    """A convolution and its normalisation, scale · (Wx - mean) / sqrt(var + ε) + bias; x [B, height, width, inputs].

    depthwise: each channel has a window of its own.
    """

    def __init__(self, size: int, stride: int, inputs: int, outputs: int, rngs: nnx.Rngs, depthwise: bool = False):
        self.size, self.stride, self.depthwise = size, stride, depthwise
        shape = (size, size, 1 if depthwise else inputs, outputs)
        spread = jnp.sqrt(2 / (size * size * (1 if depthwise else outputs)))
        self.kernel = nnx.Param(spread * jax.random.normal(rngs.params(), shape))
        self.scale, self.var = nnx.Param(jnp.ones(outputs)), nnx.Param(jnp.ones(outputs))
        self.bias, self.mean = nnx.Param(jnp.zeros(outputs)), nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...]
        if self.depthwise:
            y = depthwise(x, kernel[:, :, 0], self.stride)
        else:
            y = jnp.concatenate(seen(x, self.size, self.stride), axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
        factor = self.scale[...] * jax.lax.rsqrt(self.var[...] + EPSILON)
        return y * factor[None, None, None] + (self.bias[...] - self.mean[...] * factor)[None, None, None]


class Block(nnx.Module):
    """[B, h, w, inputs] -> [B, h / stride, w / stride, outputs]; x is added where the shape stays."""

    def __init__(self, size: int, stride: int, widen: int, inputs: int, outputs: int, rngs: nnx.Rngs):
        inside, self.residual = widen * inputs, stride == 1 and inputs == outputs
        self.expand = Convolution(1, 1, inputs, inside, rngs) if widen > 1 else None
        self.depthwise = Convolution(size, stride, inside, inside, rngs, depthwise=True)
        self.project = Convolution(1, 1, inside, outputs, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.nn.relu6(self.expand(x)) if self.expand else x
        y = self.project(jax.nn.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLite(nnx.Module):
    """Images float32 [B, height, width, 1 or 3] in [0, 1] -> the last feature map, averaged [B, 1280]."""

    def __init__(self, rngs: nnx.Rngs):
        self.stem, inputs = Convolution(3, 2, 3, STEM, rngs), STEM
        for i, (size, stride, widen, outputs) in enumerate(BLOCKS):
            setattr(self, f"block{i}", Block(size, stride, widen, inputs, outputs, rngs))
            inputs = outputs
        self.top = Convolution(1, 1, inputs, WIDTH, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.depths(x)[-1]

    def depths(self, x: jax.Array) -> list[jax.Array]:
        """The maps after the later stages and the last one, each averaged: float32 [B, 40], [B, 80], ... [B, 1280]."""
        x = (jnp.broadcast_to(x, (*x.shape[:3], 3)) * 255 - 127) / 128
        x, found = jax.nn.relu6(self.stem(x)), []
        for i in range(len(BLOCKS)):
            x = getattr(self, f"block{i}")(x)
            if i in ENDS:
                found.append(jnp.mean(x, axis=(1, 2)))
        return [*found, jnp.mean(jax.nn.relu6(self.top(x)), axis=(1, 2))]


class Depths(EfficientNetLite):
    """Images float32 [B, height, width, 1 or 3] in [0, 1] -> what each depth says, scaled to length 1, [B, 2024]."""

    def __call__(self, x: jax.Array) -> jax.Array:
        found = self.depths(x)
        return jnp.concatenate([z / jnp.maximum(jnp.linalg.norm(z, axis=1, keepdims=True), 1e-9) for z in found], axis=1)


def build(settings: Settings) -> Classifier:
    """Images [B, height, width, 1 or 3] in [0, 1] -> z [B, 1280]."""
    still = ("scale", "bias", "mean", "var") if settings.batch_norm == "frozen" else ("mean", "var")
    return Classifier(
        body=_body,
        head=head,
        features=features,
        logits=logits,
        layers=LAYERS,
        fixed=lambda body: jax.tree_util.tree_map_with_path(lambda keys, _: keys[-1].key in still, body),
    )


def _body(key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise TransferError(
            f"model=efficientnet_lite needs images with 1 or 3 channels, and the inputs have shape {list(shape)}; "
            "choose domain.features that are images (book_covers: cover)"
        )
    return modules.init(EfficientNetLite, key) if given is None else given


def features(body: Params, x: jax.Array) -> jax.Array:
    """Images [B, height, width, 1 or 3] in [0, 1] -> z [B, 1280]."""
    return in_parts(partial(modules.apply, EfficientNetLite, body), x, PART)


def read_weights(settings: Settings, world: ExamplesWorld) -> Params:
    """The body in the package or file that `model.weights` names."""
    return read(located(settings.weights or ""))


def encoded(given: str, x: np.ndarray) -> np.ndarray:
    """Vectors float32 [n, 2024] of images [n, height, width, 1 or 3] in [0, 1] by the given weights, as they are.

    Not the last map alone, which is made for the classes of ImageNet: earlier ones say more of colours and forms.
    """
    body, run = read(located(given)), jax.jit(partial(modules.apply, Depths))
    parts = []
    for first in range(0, len(x), PART):
        part = x[first : first + PART]
        padded = np.concatenate([part, np.zeros((PART - len(part), *x.shape[1:]), x.dtype)])  # one shape for all parts
        parts.append(np.asarray(run(body, padded))[: len(part)])
    return np.concatenate(parts)


def read(path: Path) -> Params:
    """The body in a file of weights. Raises TransferError for a tensor that is missing, left over or of another shape."""
    template = jax.eval_shape(partial(modules.init, EfficientNetLite), jax.random.key(0))
    return weights.load(path, template, {"lukemelas": published}, ("module.",), ("_fc.", "num_batches_tracked"))


UNITS = {  # of a convolution and its normalisation
    "stem": ("_conv_stem", "_bn0"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
    "top": ("_conv_head", "_bn1"),
}
LEAVES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def published(name: str) -> str:
    """block3/expand/kernel -> _blocks.3._expand_conv.weight, as the file of the published weights has it."""
    *block, unit, leaf = name.split("/")
    before = f"_blocks.{block[0].removeprefix('block')}." if block else ""
    convolution, norm = UNITS[unit]
    return before + (f"{convolution}.weight" if leaf == "kernel" else f"{norm}.{LEAVES[leaf]}")

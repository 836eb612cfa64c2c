"""model=resnet50: residual bottlenecks, y = relu(x + f(x)), f = 1x1, 3x3 (with the stride: v1.5), 1x1 convolutions.

Paper: He, Zhang, Ren, Sun (2016), deep residual learning; He et al. (2015), the initial weights; Li et al. (2018), AdaBN.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from transfer.config.schema import Model
from transfer.data.examples.world import ExamplesWorld
from transfer.errors import TransferError
from transfer.models.in_parts import in_parts
from transfer.models.softmax import head, logits
from transfer.program import Classifier, Params, stream
from transfer.storage import weights
from transfer.storage.packaged import located

TASKS = ("classification",)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, which most weights expect
EPSILON = 1e-5
PART = 64  # images at once; also the batches whose moments `adapt` averages
WIDEN = 4  # a block's output is so many times as wide as its inside
STAGES = ("stage1", "stage2", "stage3", "stage4")


class Form(NamedTuple):
    """How networks of the same shapes differ: in mean and deviation of pixels, in what max-pooling sees beyond the edges,
    before and after, and in whether blocks halve images in their first convolution (v1) or in the second (v1.5)."""

    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    pooled: tuple[int, int] = (1, 1)
    first: bool = False


PYTORCH, CAFFE = Form(), Form((123 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3, (0, 1), True)
Norm = Literal["kept", "adapted", "frozen"]
Count = Annotated[int, Field(ge=1)]


class Settings(Model):
    # a local .safetensors, .npz or .pth file in torchvision's, timm's or Hugging Face's naming; opennsfw (with
    # width 32 and stem 64): the installed package; null: random
    weights: str | None = None
    # kept: stored statistics, scale and offset train; adapted: those of the images learnt from; frozen: all of it stays
    batch_norm: Norm = "kept"
    width: int = Field(default=64, ge=1)  # channels inside the first blocks; the representation has 32 times as many
    stem: int | None = Field(default=None, ge=1)  # channels of the first convolution; null: width
    blocks: tuple[Count, Count, Count, Count] = (3, 4, 6, 3)  # residual blocks of the four stages


def build(settings: Settings) -> Classifier:
    """Images [B, height, width, 1 or 3] in [0, 1] -> their last feature map, averaged [B, 32 · width].

    Batch normalisation always uses stored statistics, which never train: `kept` trains its scale and offset, `frozen` none
    of it, `adapted` is `kept` with the statistics of the images that a stage learns from, computed once before it.
    """
    return Classifier(
        body=partial(_body, settings),
        head=head,
        features=partial(features, form=form_of(settings)),
        logits=logits,
        layers=("stem", *STAGES),
        fixed=partial(
            _fixed, still=("scale", "bias", "mean", "var") if settings.batch_norm == "frozen" else ("mean", "var")
        ),
        adapt=partial(adapt, form=form_of(settings)) if settings.batch_norm == "adapted" else None,
    )


def read_weights(settings: Settings, world: ExamplesWorld) -> Params:
    """The body in the file `model.weights`, whose tensors are named as torchvision, timm or Hugging Face do."""
    template = jax.eval_shape(lambda key: _body(settings, key, (32, 32, 3), None), jax.random.key(0))
    path, unused = located(settings.weights or ""), ("fc.", "classifier.", "num_batches_tracked")
    if form_of(settings) is CAFFE:
        return _unfolded(weights.load(path, _folded(template), {"opennsfw": opennsfw}, (), ()))
    namings = {"torchvision and timm": torchvision, "Hugging Face": hugging_face}
    return weights.load(path, template, namings, ("module.", "model.", "resnet."), unused)


def form_of(settings: Settings) -> Form:
    """That of Caffe's networks, converted to ONNX, or that of PyTorch's."""
    return CAFFE if settings.weights and located(settings.weights).suffix == ".onnx" else PYTORCH


def _folded(body: Params) -> Params:
    """A body whose normalisations are folded into its convolutions, of which their offsets are left."""
    if "kernel" in body:
        return {"kernel": body["kernel"], "norm": {"bias": body["norm"]["bias"]}}
    return {name: _folded(part) for name, part in body.items()}


def _unfolded(body: Params) -> Params:
    """The same with normalisations that do nothing but add their offsets; the stem takes red first."""

    def unit(part: Params) -> Params:
        if "kernel" not in part:
            return {name: unit(inside) for name, inside in part.items()}
        bias = part["norm"]["bias"]
        norm = {"scale": np.ones_like(bias), "bias": bias, "mean": np.zeros_like(bias)}
        return {"kernel": part["kernel"], "norm": {**norm, "var": np.full_like(bias, 1 - EPSILON)}}

    stem = {**body["stem"], "kernel": body["stem"]["kernel"][:, :, ::-1]}
    return unit({**body, "stem": stem})


def torchvision(name: str) -> str:
    """stage2/block0/conv1/kernel -> layer2.0.conv1.weight; timm's ResNet-50 has the same names."""
    *place, unit, leaf = name.replace("/norm/", "/norm_").split("/")
    before = "".join(f"{part.replace('stage', 'layer').replace('block', '')}." for part in place)
    norm = leaf.startswith("norm_")
    unit = f"downsample.{int(norm)}" if unit == "shortcut" else f"{'bn' if norm else 'conv'}{unit[-1] if place else 1}"
    return f"{before}{unit}.{LEAVES[leaf.removeprefix('norm_')]}"


def hugging_face(name: str) -> str:
    """stage2/block0/conv1/kernel -> encoder.stages.1.layers.0.layer.0.convolution.weight."""
    *place, unit, leaf = name.replace("/norm/", "/norm_").split("/")
    kind = "normalization" if leaf.startswith("norm_") else "convolution"
    before = "embedder.embedder"
    if place:
        inside = "shortcut" if unit == "shortcut" else f"layer.{int(unit[-1]) - 1}"
        before = f"encoder.stages.{int(place[0][-1]) - 1}.layers.{place[1].removeprefix('block')}.{inside}"
    return f"{before}.{kind}.{LEAVES[leaf.removeprefix('norm_')]}"


def opennsfw(name: str) -> str:
    """stage2/block0/conv1/kernel -> bn_stage1_block0_branch2a.weight, the output of a convolution in the ONNX file."""
    *place, unit, leaf = name.replace("/norm/", "/").split("/")
    leaf = "weight" if leaf == "kernel" else "bias"
    if not place:
        return f"bn_1.{leaf}"
    branch = "proj_shortcut" if unit == "shortcut" else f"branch2{'abc'[int(unit[-1]) - 1]}"
    return f"bn_stage{int(place[0][-1]) - 1}_{place[1]}_{branch}.{leaf}"


LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _body(settings: Settings, key: jax.Array, shape: tuple[int, ...], given: Params | None) -> Params:
    """The given weights, or fresh ones: He's normal; the last scale of a block is 0, so that blocks begin as identities."""
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise TransferError(
            f"model=resnet50 needs images with 1 or 3 channels, and the inputs have shape {list(shape)}; "
            "choose domain.features that are images (book_covers: cover)"
        )
    if given is not None:
        return given

    def unit(name: str, size: int, inputs: int, outputs: int, scale: float = 1.0) -> Params:
        drawn = jax.random.normal(stream(key, name), (size, size, inputs, outputs))
        norm = {"scale": jnp.full(outputs, scale), "bias": jnp.zeros(outputs), "mean": jnp.zeros(outputs)}
        return {"kernel": drawn * jnp.sqrt(2 / (size * size * outputs)), "norm": {**norm, "var": jnp.ones(outputs)}}

    inputs = settings.stem or settings.width
    body = {"stem": unit("stem", 7, 3, inputs)}
    for number, (stage, blocks) in enumerate(zip(STAGES, settings.blocks, strict=True)):
        inside = settings.width * 2**number
        body[stage] = {}
        for block in range(blocks):
            name = f"{stage}/block{block}"
            units = {
                "conv1": unit(f"{name}/1", 1, inputs, inside),
                "conv2": unit(f"{name}/2", 3, inside, inside),
                "conv3": unit(f"{name}/3", 1, inside, WIDEN * inside, scale=0.0),
            }
            if block == 0:
                units["shortcut"] = unit(f"{name}/shortcut", 1, inputs, WIDEN * inside)
            body[stage][f"block{block}"], inputs = units, WIDEN * inside
    return body


def features(body: Params, x: jax.Array, form: Form = PYTORCH) -> jax.Array:
    """Images [B, height, width, 1 or 3] in [0, 1] -> z [B, width]."""
    return in_parts(lambda part: _forward(body, part, own=False, form=form)[0], x, PART)


def adapt(body: Params, x: jax.Array, form: Form = PYTORCH) -> Params:
    """The body with the statistics of images x [n, ...]: moments of full batches of 64, averaged."""
    size = min(PART, x.shape[0])
    batches = x[: x.shape[0] // size * size].reshape(-1, size, *x.shape[1:])
    moments = jax.lax.map(lambda batch: _forward(body, batch, own=True, form=form)[1], batches)
    return _with_moments(body, jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), moments))


def _with_moments(body: Params, moments: Params) -> Params:
    if "kernel" in body:
        return {**body, "norm": {**body["norm"], **moments}}
    return {name: _with_moments(part, moments[name]) for name, part in body.items()}


def _forward(body: Params, x: jax.Array, own: bool, form: Form = PYTORCH) -> tuple[jax.Array, Params]:
    """z, and the mean and variance that every normalisation used: the stored ones, or with `own` those of x itself."""
    mean, std = (jnp.array(of)[None, None, None, :] for of in (form.mean, form.std))
    used: Params = {}
    x, used["stem"] = _unit(body["stem"], (jnp.broadcast_to(x, (*x.shape[:3], 3)) - mean) / std, 2, own)
    edges = [(0, 0), form.pooled, form.pooled, (0, 0)]
    x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), edges)
    for number, stage in enumerate(STAGES):
        used[stage] = {}
        for block in range(len(body[stage])):
            stride = 2 if number and not block else 1
            x, used[stage][f"block{block}"] = _bottleneck(body[stage][f"block{block}"], x, stride, own, form.first)
    return jnp.mean(x, axis=(1, 2)), used


def _bottleneck(block: Params, x: jax.Array, stride: int, own: bool, first: bool) -> tuple[jax.Array, Params]:
    used: Params = {}
    y, used["conv1"] = _unit(block["conv1"], x, stride if first else 1, own)
    y, used["conv2"] = _unit(block["conv2"], jax.nn.relu(y), 1 if first else stride, own)
    y, used["conv3"] = _unit(block["conv3"], jax.nn.relu(y), 1, own)
    if "shortcut" in block:
        x, used["shortcut"] = _unit(block["shortcut"], x, stride, own)
    return jax.nn.relu(x + y), used


def _unit(unit: Params, x: jax.Array, stride: int, own: bool) -> tuple[jax.Array, Params]:
    """A convolution and its normalisation, scale · (Wx - mean) / sqrt(var + ε) + bias; and the mean and variance."""
    kernel, norm = unit["kernel"], unit["norm"]
    y = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), _padding(kernel.shape[0])[1:3], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    axes = (0, 1, 2)
    mean, var = (jnp.mean(y, axes), jnp.var(y, axes)) if own else (norm["mean"], norm["var"])
    factor = norm["scale"] * jax.lax.rsqrt(var + EPSILON)
    offset = norm["bias"] - mean * factor
    return y * factor[None, None, None, :] + offset[None, None, None, :], {"mean": mean, "var": var}


def _padding(size: int) -> list[tuple[int, int]]:
    """Half a window on either side of an image, as PyTorch does it whatever the stride."""
    return [(0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)]


def _fixed(body: Params, still: tuple[str, ...]) -> Params:
    """True for the leaves of the body that never train."""
    return jax.tree_util.tree_map_with_path(lambda keys, _: keys[-1].key in still, body)

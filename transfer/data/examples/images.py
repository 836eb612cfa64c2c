"""Files of images as pixels; nothing is unpacked before its size is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.data.kept import noted
from transfer.errors import TransferError, missing
from transfer.storage.damaged import check_size, reading

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
PIXELS = 50_000_000  # of an image


def picture(folder: Path, place: str, side: int) -> np.ndarray:
    """An image within a folder as float32 [side, side, 3] in [0, 1], squeezed. Raises TransferError for an unreadable one.

    Its size is known before it is unpacked; more than PIXELS is refused.
    """
    try:
        from PIL import Image
    except ImportError:
        raise missing("reading images", "pillow", "images") from None

    path = noted(folder / place)
    if not path.is_file():
        raise TransferError(f"{path}: no such image; correct its row, or remove it")
    with reading(path, "a readable image; remove its row from the list"):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise TransferError(f"it lies outside {folder}")
        with Image.open(path) as image:
            check_size(image.width * image.height, "pixels", PIXELS)
            return np.asarray(image.convert("RGB").resize((side, side)), np.float32) / 255

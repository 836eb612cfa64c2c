"""Images of items: files in a folder that are named by item, as pixels; kept by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from transfer.data import cache
from transfer.data.examples.images import ENDINGS, picture
from transfer.data.features.spaces import Rows
from transfer.data.kept import noted
from transfer.errors import TransferError


def pixels_of(folder: Path, ids: pl.Series, side: int) -> Rows:
    """Pixels float32 [ids, side · side · 3] in 0 … 1 of FOLDER/ID.jpg (.png, …); zeros for an item without an image.

    Raises TransferError where there is no such folder, no image of an item, or one that cannot be read.
    """
    if not noted(folder).is_dir():
        raise TransferError(f"{folder}: no such folder of images; correct `path` in items.features, or set data_dir=...")
    named = {path.stem: path for path in sorted(folder.iterdir(), reverse=True) if path.suffix.lower() in ENDINGS}
    found = [named.get(item) for item in ids.cast(pl.String)]
    if not any(found):
        raise TransferError(f"{folder}: no image is named by an item, such as {ids.cast(pl.String)[0]}.jpg")
    content = ["" if path is None else hashlib.sha256(noted(path).read_bytes()).hexdigest() for path in found]
    (place,) = cache.places(f"pixels-1 {side}".encode(), [content])

    def read() -> Rows:
        made = np.zeros((len(found), side * side * 3), np.float32)
        for row, path in zip(made, found, strict=True):
            if path is not None:
                row[:] = picture(folder, path.name, side).ravel()
        return made

    return cache.remembered(place, "pixels", read)

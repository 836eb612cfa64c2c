"""Frozen networks that make vectors of examples, by what `domain.encoder` names: of images, else of texts."""

from __future__ import annotations

import numpy as np

from transfer.models import efficientnet_lite, text_encoder
from transfer.storage.packaged import of_images


def encoded(given: str, x: np.ndarray) -> np.ndarray:
    """Vectors float32 [n, d] of images float32 [n, height, width, channels], or of token ids int32 [n, length]."""
    return efficientnet_lite.encoded(given, x) if of_images(given) else text_encoder.encoded(given, x)

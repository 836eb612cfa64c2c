"""What makes vectors of examples and is not trained, by what `domain.encoder` names: networks, or a table of words."""

from __future__ import annotations

import numpy as np

from transfer.storage import weights
from transfer.storage.packaged import located, read_by


def encoded(given: str, x: np.ndarray) -> np.ndarray:
    """Vectors float32 [n, d] of images float32 [n, height, width, channels], or of token ids int32 [n, length]."""
    from transfer.models import efficientnet_lite, text_encoder  # Flax takes a while, and every run imports this file

    makers = {"images": efficientnet_lite.encoded, "words": averaged, "texts": text_encoder.encoded}
    return makers[read_by(given)](given, x)


def averaged(given: str, x: np.ndarray) -> np.ndarray:
    """The mean of the vectors of a text's tokens, of which 0 is padding: float32 [n, d] of ids int32 [n, length]."""
    table = weights.read(located(given))["embedding.weight"].astype(np.float32)
    z = np.zeros((len(x), table.shape[1]), np.float32)
    for row, ids in zip(z, x, strict=True):
        row += table[ids[ids != 0]].sum(axis=0) / max(np.count_nonzero(ids), 1)
    return z

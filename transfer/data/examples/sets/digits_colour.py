"""MNIST's test digits, plain and blended with coloured grounds: x' = |g - x| in each channel, as MNIST-M does with photos.

Images have 14 x 14 pixels of three channels from 0 to 1, the means of 2 x 2 of MNIST's 28 x 28. `plain` has 2,000 digits,
in grey (three equal channels); `blended` 2,000 others. A ground g is drawn, not photographed: 0.7 · (a 3 x 3 grid of
colours) + 0.3 · (a 7 x 7 grid), of uniform numbers from 0 to 1 and interpolated linearly, times `strength`; with a fixed
seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.idx import read_idx
from transfer.data.examples.sets.raw import Raw, existing, one_hot
from transfer.errors import TransferError
from transfer.storage.damaged import reading

DOMAINS = ("plain", "blended")
FEATURES = ("pixels",)
EACH = 2000  # digits of a domain
PARTS = {"images-idx3": (28, 28), "labels-idx1": ()}  # of MNIST's files, and the axes beside that of the examples
GROUNDS = ((3, 0.7), (7, 0.3))  # cells of a grid along one side, and its share


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    """The digits of a domain; at domain.strength 0 blended ones are plain."""
    images, labels = (_idx(data_dir / "digits" / f"t10k-{part}-ubyte.gz", axes) for part, axes in PARTS.items())
    rows = slice(DOMAINS.index(name) * EACH, (DOMAINS.index(name) + 1) * EACH)
    digits = halved(images[rows].astype(np.float32) / 255)[..., None] * np.ones(3, np.float32)
    if name == "blended":
        digits = np.abs(settings.strength * grounds(len(digits), digits.shape[1]) - digits)
    path = data_dir / "digits"
    with reading(path, "digits with labels"):
        y = one_hot(labels[rows], 10)
    return Raw(name, y, tuple("0123456789"), np.zeros(len(y), bool), arrays=digits.astype(np.float32), path=path)


def halved(images: np.ndarray) -> np.ndarray:
    """The means of 2 x 2 pixels: [n, 2 h, 2 w] -> [n, h, w]."""
    count, height, width = images.shape
    return images.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


def grounds(count: int, side: int) -> np.ndarray:
    """Smooth fields of colour from 0 to 1: [count, side, side, 3]."""
    rng = np.random.default_rng(0)
    total = np.zeros((count, side, side, 3))
    for cells, share in GROUNDS:
        grid = rng.random((count, cells, cells, 3))
        place = np.linspace(0, cells - 1, side)
        weights = np.maximum(1 - np.abs(place[:, None] - np.arange(cells)[None, :]), 0)
        total += share * np.einsum("ia,jb,nabc->nijc", weights, weights, grid, optimize=True)
    return total


def _idx(path: Path, axes: tuple[int, ...]) -> np.ndarray:
    """Bytes [n, *axes] of MNIST."""
    found = read_idx(existing(path, "domain=digits_colour"), 1 + len(axes))
    if found.shape[1:] != axes or len(found) < 2 * EACH:
        raise TransferError(
            f"{path}: {2 * EACH:,} digits or more of shape {list(axes)} are needed, and its shape is {list(found.shape)}"
        )
    return found

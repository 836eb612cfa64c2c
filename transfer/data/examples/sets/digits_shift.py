"""scikit-learn's bundled digits, 8 x 8 pixels, with planted shifts of known kind and strength. Nothing to download.

Every domain has its own digits (a fifth of the 1,797), so that no example is seen twice.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, one_hot

DOMAINS = ("plain", "rotated", "inverted", "noisy", "background")
FEATURES = ("pixels",)


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    """The digits of a domain, shifted; at domain.strength 0 all domains are alike but for the digits that they hold."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    part = np.random.default_rng(0).permutation(len(digits.target))[DOMAINS.index(name) :: len(DOMAINS)]
    images = shifted(name, (digits.images[part] / 16).astype(np.float32), settings.strength)
    y = one_hot(digits.target[part], 10)
    return Raw(name, y, tuple("0123456789"), np.zeros(len(y), bool), arrays=images[..., None])


def shifted(name: str, images: np.ndarray, strength: float) -> np.ndarray:
    """Images float32 [n, 8, 8] in [0, 1] -> the same, rotated by 35°·strength, inverted, noisy or on a striped ground."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name == "rotated":
        from scipy.ndimage import rotate

        images = rotate(images, 35 * strength, axes=(1, 2), reshape=False, order=1)
    elif name == "inverted":
        images = images + min(strength, 1.0) * (1 - 2 * images)
    elif name == "noisy":
        images = images + 0.4 * strength * rng.standard_normal(images.shape)
    elif name == "background":
        phase = rng.uniform(0, 2 * np.pi, (len(images), 1, 1))
        stripes = 0.5 + 0.5 * np.sin(np.arange(8)[None, None, :] * 1.6 + phase)
        images = np.maximum(images, 0.6 * min(strength, 1.0) * stripes)
    return np.clip(images, 0, 1).astype(np.float32)

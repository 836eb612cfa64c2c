"""Vectors of the items of several domains in one space: reduced together, centred by domain, of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

Rows = NDArray[np.float32]
RAREST = 2  # a word or a label of fewer items says nothing of how items are alike
SPARE, PASSES = 16, 4  # of the randomised SVD: extra directions, power iterations


def project(x: sparse.csr_array | Rows, dim: int) -> NDArray[np.float32]:
    """The rows of x on its first `dim` right singular vectors: U Σ, padded with zeros where the rank is lower."""
    width = min(dim + SPARE, *x.shape)
    q = np.random.default_rng(0).normal(size=(x.shape[1], width)).astype(np.float32)
    for _ in range(PASSES):
        q, _r = np.linalg.qr(x.T @ (x @ q))
    image = x @ q
    _, v = np.linalg.eigh(image.T @ image)
    reduced = image @ v[:, ::-1][:, : min(dim, width)]
    return np.pad(reduced, ((0, 0), (0, dim - reduced.shape[1])))


def parted(rows: Rows, sizes: Sequence[int]) -> list[Rows]:
    """The rows of each domain."""
    return [rows[low:high] for low, high in pairwise(np.cumsum([0, *sizes]))]


def centred(domains: Sequence[Rows]) -> list[Rows]:
    """Rows of length 1, less the mean of their domain, which tells films from books as such; rows of zeros stay."""
    result = []
    for rows in domains:
        told = np.linalg.norm(rows, axis=1) > 0
        moved = np.where(told[:, None], rows - rows[told].mean(axis=0) if told.any() else rows, 0)
        result.append((moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)).astype(np.float32))
    return result


def standardised(domains: Sequence[Rows]) -> list[Rows]:
    """Columns with mean 0 and standard deviation 1 in every domain, by the root of their number; NaN becomes 0."""
    result = []
    for rows in domains:
        known = ~np.isnan(rows)
        count = np.maximum(known.sum(axis=0), 1)
        moved = np.where(known, rows - np.where(known, rows, 0).sum(axis=0) / count, 0)
        std = np.sqrt(np.square(moved).sum(axis=0) / count)
        result.append((moved / np.where(std > 1e-8, std, 1) / np.sqrt(rows.shape[1])).astype(np.float32))
    return result

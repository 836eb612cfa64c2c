"""One domain of labelled examples as its reader leaves it. Host side; no JAX here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data.kept import noted
from transfer.errors import TransferError


@dataclass(frozen=True)
class Raw:
    """Labels y float32 [n, classes] (one-hot, or multi-hot with `multi_label`) of texts, word counts and arrays.

    texts: n strings; counts: a scipy sparse matrix [n, words]; arrays: float32 [n, ...]. What is there is joined into the
    features. `hidden` marks the test examples that the data set itself prescribes.
    """

    name: str
    y: np.ndarray
    classes: tuple[str, ...]
    hidden: np.ndarray
    texts: list[str] | None = None
    counts: Any = None
    arrays: np.ndarray | None = None
    multi_label: bool = False


def without_hidden(raw: Raw) -> Raw:
    """The domain without the test examples that its data set prescribes: what there is of a source."""
    kept = np.flatnonzero(~raw.hidden)
    texts = None if raw.texts is None else [raw.texts[i] for i in kept]
    counts, arrays = (None if table is None else table[kept] for table in (raw.counts, raw.arrays))
    return replace(raw, y=raw.y[kept], hidden=raw.hidden[kept], texts=texts, counts=counts, arrays=arrays)


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Integer labels [n] from 0 -> float32 [n, classes]. Raises TransferError for a label outside."""
    labels = np.asarray(labels).ravel()
    if len(labels) and not ((labels >= 0) & (labels < n_classes) & (labels == labels.astype(np.int64))).all():
        raise TransferError(
            f"labels must be whole numbers from 0 to {n_classes - 1}; found {labels.min()} to {labels.max()}"
        )
    return np.eye(n_classes, dtype=np.float32)[labels.astype(np.int64)]


def existing(path: Path, what: str) -> Path:
    """The path, if it is a file. Raises TransferError saying how to point to the data."""
    if not noted(path).is_file():
        raise TransferError(f"{path}: no such file; {what} is read from data_dir=FOLDER (or the variable TRANSFER_DATA)")
    return path

"""One domain of labelled examples as its reader leaves it. Host side; no JAX here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data.kept import noted
from transfer.errors import TransferError

SHOWN = 5  # classes that are listed by name


@dataclass(frozen=True)
class Raw:
    """Labels y float32 [n, classes] (one-hot, or multi-hot with `multi_label`) of texts, word counts and arrays; `numeric`:
    y [n, 1] are numbers.

    texts: n strings; counts: a scipy sparse matrix [n, words]; arrays: float32 [n, ...]. What is there is joined into the
    features. `hidden` marks the test examples that the data set itself prescribes, `unlabelled` those whose label nobody
    knows (None: none); `columns` says which column was taken for what; `path` is a file that errors name.
    """

    name: str
    y: np.ndarray
    classes: tuple[str, ...]
    hidden: np.ndarray
    texts: list[str] | None = None
    counts: Any = None
    arrays: np.ndarray | None = None
    multi_label: bool = False
    path: Path | None = None
    unlabelled: np.ndarray | None = None
    columns: dict[str, str] | None = None
    numeric: bool = False

    @property
    def strata(self) -> np.ndarray:
        """What splits keep the shares of, [n, classes]: the classes; numbers are all of one."""
        return np.ones_like(self.y) if self.numeric else self.y


def check(raw: Raw) -> None:
    """Raise TransferError, with row and column, for numbers that are no features or labels, and for unequal lengths."""
    where = f"{raw.path or 'domain ' + raw.name}"
    parts = {"texts": raw.texts, "counts": raw.counts, "arrays": raw.arrays, "hidden": raw.hidden}
    lengths = {name: part.shape[0] if name == "counts" else len(part) for name, part in parts.items() if part is not None}
    if raw.y.ndim != 2 or raw.y.shape[1] != len(raw.classes) or any(n != len(raw.y) for n in lengths.values()):
        raise TransferError(f"{where}: labels {list(raw.y.shape)} of {len(raw.classes)} classes do not go with {lengths}")
    if not len(raw.y):
        raise TransferError(f"{where}: it has no example")
    faulty = np.argwhere(~np.isfinite(raw.y) | (not raw.numeric) & ((raw.y < 0) | (raw.y > 1)))
    if len(faulty):
        raise TransferError(f"{where}: the label in {_place(faulty[0])} is {raw.y[tuple(faulty[0])]}; it must be 0 or 1")
    if raw.arrays is not None and len(faulty := np.argwhere(~np.isfinite(raw.arrays))):
        raise TransferError(f"{where}: {raw.arrays[tuple(faulty[0])]} in {_place(faulty[0])} is no feature; correct it")
    if raw.counts is not None:
        table = raw.counts.tocoo()
        if len(wrong := np.flatnonzero(~np.isfinite(table.data) | (table.data < 0))):
            place = _place((table.row[wrong[0]], table.col[wrong[0]]))
            raise TransferError(f"{where}: {table.data[wrong[0]]} in {place} is no count of a word; correct it")


def check_classes(raws: list[Raw]) -> None:
    """Raise TransferError where the target, of which no label will be known, has classes that no source has."""
    target, *sources = raws
    there = np.any([raw.y.any(0) for raw in sources if raw.classes == target.classes] or [target.y[:0].any(0)], axis=0)
    if sources and len(strange := np.flatnonzero(target.y.any(0) & ~there)):
        listed = ", ".join(target.classes[c] for c in strange[:SHOWN]) + (" …" if len(strange) > SHOWN else "")
        raise TransferError(
            f"{target.path}: the target has classes that no source has ({listed}), and without a label of the target "
            "nothing could tell them; leave their rows out, or write split=few_labels"
        )


def read_as(raw: Raw) -> dict[str, Any]:
    """How a domain was understood: the column taken for each role, examples without a label, classes that it lacks."""
    lacks = [name for name, there in zip(raw.classes, raw.strata.max(axis=0, initial=0), strict=True) if not there]
    said: dict[str, Any] = {"columns": raw.columns, "lacks": lacks} if raw.columns else {}
    return said | ({} if raw.unlabelled is None else {"without_label": int(raw.unlabelled.sum())})


def _place(index: Any) -> str:
    """The row and column of an array's cell, from 1; further axes are counted on."""
    row, *columns = (int(i) + 1 for i in index)
    return f"row {row:,}" + (f", column {', '.join(map(str, columns))}" if columns else "")


def without_hidden(raw: Raw) -> Raw:
    """The domain without the test examples that its data set prescribes: what there is of a source."""
    kept = np.flatnonzero(~raw.hidden)
    texts = None if raw.texts is None else [raw.texts[i] for i in kept]
    counts, arrays = (None if table is None else table[kept] for table in (raw.counts, raw.arrays))
    return replace(raw, y=raw.y[kept], hidden=raw.hidden[kept], texts=texts, counts=counts, arrays=arrays)


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Integer labels [n] from 0 -> float32 [n, classes]. Raises TransferError for a label outside."""
    labels = np.asarray(labels).ravel()
    if len(labels) and not ((labels >= 0) & (labels < n_classes) & (labels == np.floor(labels))).all():
        raise TransferError(
            f"labels must be whole numbers from 0 to {n_classes - 1}; found {labels.min()} to {labels.max()}"
        )
    return np.eye(n_classes, dtype=np.float32)[labels.astype(np.int64)]


def existing(path: Path, what: str) -> Path:
    """The path, if it is a file. Raises TransferError saying how to point to the data."""
    if not noted(path).is_file():
        raise TransferError(f"{path}: no such file; {what} is read from data_dir=FOLDER (or the variable TRANSFER_DATA)")
    return path

"""Which classes there are: those of the target and of all sources that have one of them. Or labels as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from transfer.data.labelled.found import Found, Labels
from transfer.errors import TransferError

MOST = 1000  # classes; more are names or numbers
SHOWN = 5  # classes that are listed by name
NUMBER = ("number",)  # what stands for the classes where labels are numbers


def check_labels(name: str, found: Found, target: bool, numeric: bool = False) -> None:
    """Raise TransferError where a source has examples without a label, and where labels are no classes and have to be."""
    count = sum(label is None for label in found.labels)
    if count and not target:
        where = found.place(next(i for i, label in enumerate(found.labels) if label is None))
        if found.columns.get("label", "none") == "none" and count == len(found.labels):
            raise TransferError(
                f"{found.path}: the source {name} has no labels; name their column with label: COLUMN in this domain"
            )
        raise TransferError(
            f"{found.path}, {where}: no label, and so in {count:,} rows of the source {name}; fill it in or remove the row "
            "(examples without a label are of use in the target alone)"
        )
    classes = set(chain.from_iterable(label for label in found.labels if label))
    known = len(found.labels) - count
    if numeric:
        return
    if len(classes) > MOST or (known >= 20 and len(classes) > known / 2):
        raise TransferError(
            f"{found.path}: {found.columns.get('label', 'y')} has {len(classes):,} different labels in {known:,} examples, "
            "which are no classes; name another column with label: COLUMN, or write task=regression for numbers"
        )


def classes_of(domains: Sequence[Found]) -> list[tuple[str, ...]]:
    """The classes of every domain, the target first: one set for it and all sources that share one of its classes, and a
    set of its own for each source that shares none. Raises TransferError for fewer than two."""
    own = [set(chain.from_iterable(label for label in found.labels if label)) for found in domains]
    common = set(own[0])
    for classes in own[1:]:
        if classes & own[0] or not own[0]:
            common |= classes
    if len(common) < 2:
        known = f"one class is known ({_some(common)})" if common else "no class is known"
        raise TransferError(f"{domains[0].path}: {known}; two are needed")
    return [_sorted(common if classes <= common else classes) for classes in own]


def known_of(labels: Sequence[Labels], classes: tuple[str, ...]) -> np.ndarray:
    """y float32 [n, classes], all 0 where no label is known."""
    places, y = {name: i for i, name in enumerate(classes)}, np.zeros((len(labels), len(classes)), np.float32)
    for row, label in zip(y, labels, strict=True):
        row[[places[name] for name in label or ()]] = 1
    return y


def numbers_of(found: Found) -> np.ndarray:
    """y float32 [n, 1], 0 where no label is known. Raises TransferError, with its place, for a label that is no number."""
    y = np.zeros((len(found.labels), 1), np.float32)
    for i, label in enumerate(found.labels):
        try:
            y[i] = [float(part) for part in label or ("0",)]
            fine = bool(np.isfinite(y[i, 0]))
        except ValueError:  # a word, or several labels
            fine = False
        if not fine:
            said = " ".join(label or ())
            raise TransferError(
                f"{found.path}, {found.place(i)}: the label {said!r} is not one finite number; correct it, name another "
                "column with label: COLUMN, or write task=classification"
            )
    return y


def _sorted(classes: set[str]) -> tuple[str, ...]:
    """Numbers in their order, else by the alphabet."""
    try:
        return tuple(sorted(classes, key=float))
    except ValueError:
        return tuple(sorted(classes))


def _some(classes: set[str]) -> str:
    return ", ".join(_sorted(classes)[:SHOWN]) + (" …" if len(classes) > SHOWN else "")

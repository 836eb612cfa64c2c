"""Which classes there are: those of the target and of all sources that have one of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from transfer.data.labelled.found import Found, Labels
from transfer.errors import TransferError

MOST = 1000  # classes; more are names or numbers
SHOWN = 5  # classes that are listed by name


def check_labels(name: str, found: Found, target: bool) -> None:
    """Raise TransferError where a source has examples without a label, and where the labels are no classes."""
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
    if len(classes) > MOST or (known >= 20 and len(classes) > known / 2):
        raise TransferError(
            f"{found.path}: {found.columns.get('label', 'y')} has {len(classes):,} different labels in {known:,} examples, "
            "which are no classes (numbers cannot be predicted of examples); name another column with label: COLUMN"
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


def _sorted(classes: set[str]) -> tuple[str, ...]:
    """Numbers in their order, else by the alphabet."""
    try:
        return tuple(sorted(classes, key=float))
    except ValueError:
        return tuple(sorted(classes))


def _some(classes: set[str]) -> str:
    return ", ".join(_sorted(classes)[:SHOWN]) + (" …" if len(classes) > SHOWN else "")

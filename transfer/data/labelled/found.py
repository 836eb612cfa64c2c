"""What a file of labelled examples holds, before its classes are numbered and its parts are told apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

Labels = tuple[str, ...] | None  # the classes of an example; None: not known
WHOLE = re.compile(r"([+-]?\d+)\.0+")


@dataclass(frozen=True)
class Found:
    """Examples in the order of the file: labels, and texts, arrays float32 [n, ...] or sparse counts [n, words].

    several: an example may have several labels. columns: which column was taken for what. keys: the cells of columns that
    tell domains apart. numbers: the names of the columns of `arrays`, where they have some. place: where an example stands.
    """

    path: Path
    labels: Sequence[Labels]
    texts: list[str] | None = None
    arrays: np.ndarray | None = None
    counts: Any = None
    several: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    keys: dict[str, list[str | None]] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    place: Callable[[int], str] = lambda i: f"example {i + 1:,}"

    def rows(self, kept: np.ndarray) -> Found:
        """These rows alone: indices in the file's order."""
        return replace(
            self,
            labels=[self.labels[i] for i in kept],
            texts=None if self.texts is None else [self.texts[i] for i in kept],
            arrays=None if self.arrays is None else self.arrays[kept],
            counts=None if self.counts is None else self.counts[kept],
            keys={name: [cells[i] for i in kept] for name, cells in self.keys.items()},
            place=lambda i: self.place(int(kept[i])),
        )


def plain(text: str) -> str:
    """A cell without spaces around it; 1.0 is 1, as other files write it."""
    return WHOLE.sub(r"\1", text.strip()) if WHOLE.fullmatch(text.strip()) else text.strip()


def label_of(cell: Any) -> Labels:
    """One class as text; None where a cell is empty or not a number."""
    if cell is None or (isinstance(cell, float | np.floating) and np.isnan(cell)):
        return None
    text = plain(str(cell))
    return (text,) if text else None

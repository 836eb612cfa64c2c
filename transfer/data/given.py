"""Domains that are given in memory, as arrays or frames; they are called by a hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import polars as pl

from transfer.errors import TransferError

PREFIX = "memory:"  # where a domain that is no file is said to lie


class _Held:
    """Content that all domains of its path hold."""

    def __init__(self, content: Any):
        self.content = content


@dataclass(frozen=True, eq=False, repr=False)
class Domain:
    """One domain in memory: `content` by path, frames or pairs (x, y) of labelled examples; `settings` as of a file.

    kind: files (events of users and items) or examples. It is read as long as somebody holds it, or an equal one.
    """

    kind: str
    settings: dict[str, Any]
    content: dict[str, Any] = field(default_factory=dict)
    held: list[_Held] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path, content in self.content.items():
            self.held.append(_there.setdefault(path, _Held(content)))

    def __repr__(self) -> str:
        return f"Domain({self.kind}, {', '.join(f'{key}={value!r}' for key, value in self.settings.items())})"


_there: WeakValueDictionary[str, _Held] = WeakValueDictionary()


def from_memory(path: Path | str) -> Any:
    """The frame or the arrays of this path; None for a file. Raises TransferError where they are gone."""
    name = str(path)
    if not name.startswith(PREFIX):
        return None
    if (held := _there.get(name)) is None:
        raise TransferError(
            f"{name}: this domain was given from Python and is gone; give it again, as in transfer.load(FOLDER, source=…, "
            "target=…)"
        )
    return held.content


def of_frame(frame: Any) -> tuple[str, pl.DataFrame]:
    """A path and the frame as Polars has it."""
    table = as_polars(frame)
    content = BytesIO()
    table.rechunk().write_ipc(content)
    return _called(content.getvalue()), table


def of_arrays(x: Any, y: Any) -> tuple[str, tuple[Any, Any]]:
    """A path and the features x (numbers [n, ...], texts, or a sparse matrix) with their labels y (None: unknown)."""
    from scipy import sparse

    if sparse.issparse(x):
        rows = x.tocsr()
        parts = [str(rows.shape).encode(), rows.data.tobytes(), rows.indices.tobytes(), rows.indptr.tobytes()]
        return _called(*parts, *_bytes(y)), (rows, y)
    if hasattr(x, "columns"):
        x = as_polars(x).to_numpy()
    x = np.asarray(x)
    if hasattr(y, "isna"):  # of pandas
        y = _series(y).to_list()
    y = y if y is None else np.asarray(y, object) if isinstance(y, list | tuple) else np.asarray(y)
    return _called(*_bytes(x), *_bytes(y)), (x, y)


def _bytes(values: Any) -> list[bytes]:
    """What decides the content of an array."""
    if values is None:
        return [b"none"]
    array = np.asarray(values)
    if array.dtype.kind in "OU":
        return [repr(array.tolist()).encode()]
    return [f"{array.dtype}{array.shape}".encode(), np.ascontiguousarray(array).tobytes()]


def _called(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"{PREFIX}{digest.hexdigest()[:16]}"


def as_polars(frame: Any) -> pl.DataFrame:
    """A frame of Polars or pandas, columns by name, or rows as mappings. Raises TransferError for anything else."""
    if isinstance(frame, pl.DataFrame | pl.LazyFrame):
        return frame.lazy().collect()
    try:
        if hasattr(frame, "columns") and hasattr(frame, "dtypes"):  # of pandas, which need not be there
            return pl.DataFrame({str(name): _series(frame[name]) for name in frame.columns})
        if isinstance(frame, Mapping | list) and len(frame):
            return pl.DataFrame(frame)
    except Exception as error:  # the libraries raise what they like
        raise TransferError(f"a frame that cannot be read: {' '.join(str(error).split())[:200]}") from None
    raise TransferError(
        f"{type(frame).__name__} is no frame; give one of Polars or pandas, or columns by name, as in "
        "{'user': [...], 'item': [...]}"
    )


def _series(column: Any) -> pl.Series:
    """A column of pandas; what it takes for missing is null."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "biuf" and isinstance(column.dtype, np.dtype):
        values = pl.Series(column.to_numpy())
        return values.fill_nan(None) if kind == "f" else values
    if kind == "M" and isinstance(column.dtype, np.dtype):
        return pl.Series(column.to_numpy())
    missing = column.isna().to_numpy()
    return pl.Series([None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)])

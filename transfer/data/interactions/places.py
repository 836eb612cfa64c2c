"""The files that a path means: one, those that a pattern fits, the Parquet files of a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from transfer.data.interactions.formats import PARQUET
from transfer.data.kept import noted
from transfer.errors import TransferError, nearest
from transfer.storage.packed import packing, unpacked_size

EMPTY = 100  # bytes of a packed file that may have no content


def files_of(path: Path) -> list[tuple[Path, dict[str, str]]]:
    """The files that a path means, sorted, each with the columns that its folders name (category=Books): itself, those that
    a pattern fits, the Parquet files of a folder."""
    if path.is_file():
        return [(path, {})]
    if path.is_dir():
        there = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in PARQUET and not p.name.startswith((".", "_"))]
        if not there:
            raise TransferError(
                f"{path}: a folder without Parquet files; write {path.name}/*.csv for files of another kind"
            )
        names = [[name.partition("=") for name in p.relative_to(noted(path)).parts[:-1]] for p in there]
        hive = [{key: unquote(value) for key, sign, value in of if sign} for of in names]
        return [(p, more) for p, more in zip(there, hive, strict=True) if noted(p.parent)]
    fixed = next((parent for parent in path.parents if not _is_pattern(str(parent))), Path())
    try:
        return [(found, {}) for found in sorted(noted(fixed).glob(str(path.relative_to(fixed)))) if found.is_file()]
    except ValueError:  # no pattern
        return []


def no_file(tried: Sequence[Path]) -> TransferError:
    """What is said where a file is in none of the places where it was looked for, with one of a like name there."""
    close = next((hint for place in tried if (hint := _like(place))), ";")
    where = " or ".join(dict.fromkeys(str(place.absolute()) for place in tried))  # one where data_dir is here
    return TransferError(f"no file {where}{close} correct the path, or set data_dir=... or TRANSFER_DATA")


def _like(place: Path) -> str:
    return nearest(place.name, sorted(other.name for other in place.parent.iterdir())) if place.parent.is_dir() else ""


def _is_pattern(name: str) -> bool:
    return bool(re.search(r"[*?\[]", name))


def is_empty(path: Path) -> bool:
    """Whether a file has no content, packed or not."""
    size = path.stat().st_size
    return not size or (size < EMPTY and packing(path) == "gzip" and not unpacked_size(path, "gzip"))

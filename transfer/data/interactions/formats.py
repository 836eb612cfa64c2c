"""How a file is written: what its name promises, what somebody said of it, and what to write in the command instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from transfer.errors import TransferError

SEPARATORS = {".inter": "\t", ".item": "\t", ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".csv": ","}
UNQUOTED = {".inter", ".item"}
JSON = {".json", ".jsonl", ".ndjson"}
PARQUET = {".parquet", ".pq"}
PACKED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
UNPACKERS = {".zip": "unzip", ".7z": "7z x", ".xz": "xz -dk", ".bz2": "bzip2 -dk", ".tar": "tar -xf", ".tgz": "tar -xf"}
OTHERS = {".xls", ".xlsx", ".ods", ".pkl", ".pickle", ".feather", ".arrow", ".h5", ".sqlite", ".db"}
GUESSED = ("::", "\t", ";", "|", ",")  # separators, as they are looked for in a line that has one
NUMBER = re.compile(r"-?\d+(\.\d*)?")


@dataclass(frozen=True)
class Dialect:
    """What was said of how a file is written (null: found out); `of`: its place in the command, `name`: its path there."""

    separator: str | None = None
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    header: bool | None = None
    quoted: bool | None = None
    of: str = "domain.target"
    name: str = "FILE"

    @property
    def has_header(self) -> bool:
        return not self.columns if self.header is None else self.header


class Ending(NamedTuple):
    """What a name ends in, in small letters: `.csv`, and gzip, zstd or nothing around it."""

    suffix: str
    packed: str


def ending(path: Path) -> Ending:
    """`BOOKS.CSV.GZ` ends in .csv, packed by gzip."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = PACKED.get(suffixes[-1], "") if suffixes else ""
    if packed:
        suffixes.pop()
    return Ending(suffixes[-1] if suffixes else "", packed)


def separator_of(path: Path, dialect: Dialect, first: str) -> str:
    """What stands between two cells of a text file; `first`: its first line. Raises TransferError where nobody can know."""
    suffix = ending(path).suffix
    separator = {"\\t": "\t", "tab": "\t"}.get(dialect.separator or "", dialect.separator) or SEPARATORS.get(suffix)
    if separator and not re.search(r"[\r\n\"]", separator):
        return separator
    if suffix in UNPACKERS or suffix in OTHERS:
        way = f"unpack it: {UNPACKERS[suffix]} {path.name}" if suffix in UNPACKERS else "save it as CSV or Parquet"
        raise TransferError(f"{path}: {suffix} files are not read; {way}")
    known = ", ".join([*SEPARATORS, *sorted(JSON), *sorted(PARQUET)])
    found = next((sign for sign in GUESSED if sign in first), ",")
    raise TransferError(
        f"{path}: unknown format; use one of {known} (also .gz or .zst), or set `separator`: "
        f"{to_write(dialect, separator=found, **_unnamed(dialect, first.split(found)))}"
    )


def _unnamed(dialect: Dialect, cells: Sequence[str]) -> dict[str, Any]:
    """`columns` for a first row that is none of names."""
    return {"header": False, "columns": named_by_kind(cells)} if dialect.has_header and looks_like_a_row(cells) else {}


def looks_like_a_row(cells: Sequence[str]) -> bool:
    """Whether a line has numbers in it, which are no names of columns."""
    return any(NUMBER.fullmatch(cell.strip()) for cell in cells)


def named_by_kind(cells: Sequence[str]) -> list[str]:
    """Likely names for the columns of a first row: user, item, then rating (a small number) and time (a large one)."""
    names = ["user", "item"][: len(cells)]
    for cell in cells[2:]:
        number = float(cell) if NUMBER.fullmatch(cell.strip()) else None
        kind = "time" if number is not None and abs(number) > 1e6 else "rating" if number is not None else ""
        names.append(kind if kind and kind not in names else f"x{len(names) + 1}")
    return names


def to_write(dialect: Dialect, **settings: Any) -> str:
    """The words of the command that set this: `write domain.target.header=false`, quoted as a shell wants it."""
    if re.fullmatch(r"domain\.(target|source)(\.items)?", dialect.of):
        words = [shlex.quote(f"{dialect.of}.{key}={said(value)}") for key, value in settings.items()]
        return f"write {' '.join(words)}"
    whole = shlex.quote(said({"path": dialect.name, **settings}))
    return f"write {whole} in the place of {dialect.name} in {dialect.of}"


def said(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null"}.get(value, str(value).lower())  # type: ignore[arg-type]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(said, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{said(str(key))}: {said(one)}" for key, one in value.items()) + "}"
    if isinstance(value, int | float):
        return f"{value:g}"
    text = str(value).replace("\t", "\\t")
    plain = (
        re.fullmatch(r"[A-Za-z_./*?][\w./*?-]*|", text)
        and text
        and text.lower() not in ("true", "false", "null", "nan", "inf")
    )
    return text if plain else '"' + text.replace('"', '\\"') + '"'

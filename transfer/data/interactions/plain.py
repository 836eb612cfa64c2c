"""Any text file as one that Polars reads as it stands: where it is not, a temporary one is written, in a stream."""

from __future__ import annotations

import codecs
import csv
import gzip
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import polars as pl

from transfer.data.interactions.formats import JSON, UNQUOTED, Dialect, ending, separator_of, to_write
from transfer.data.interactions.json_lines import is_object, write_objects
from transfer.errors import MachineError, TransferError
from transfer.storage.damaged import POLARS
from transfer.storage.packed import packing, unpacked_size

UTF8 = {"utf-8", "utf8"}
BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
CHUNK = 2**20
LINE = 2**24  # bytes of a line, and characters of a JSON object, that are looked at as a whole
TYPE = "(?:token_seq|float_seq|token|float)(?!_seq)"
RUN_ON = re.compile(rf"((?:[^\t]+:{TYPE}\t)+[^\t]+:{TYPE})([^\t].*)")  # RecBole's header without the end of its line
BETWEEN = "\x1f"  # stands for a separator of several characters in the temporary text


class Source(NamedTuple):
    """What Polars reads: the file itself or a temporary one, which is there as long as `kept` is. `separator` is empty for
    JSON; `same_lines`: whether its lines are those of the file."""

    path: Path
    separator: str
    quoted: bool = True
    same_lines: bool = True
    kept: Any = None
    notes: tuple[str, ...] = ()


def plain(path: Path, dialect: Dialect) -> Source:
    """A text or JSON file in UTF-8, with one character between two cells, quotes doubled, JSON an object a line."""
    packed = packing(path)
    size = unpacked_size(path, packed)
    first = _first_line(path, packed)
    encoding = next((name for bom, name in BOMS.items() if first.startswith(bom)), dialect.encoding)
    if b"\0" in first and encoding.lower() in UTF8:  # letters of two bytes, which may look like UTF-8
        raise _not_of(path, 1, b"", first, encoding, dialect)
    as_json = dialect.separator is None and _is_json(path, first)
    source, kept, notes = path, None, list[str]()
    old_ends = b"\r" in first.rstrip(b"\r\n") and not first.endswith(b"\n")
    foreign = encoding.lower() not in UTF8 and (as_json or encoding != "utf-8-sig")  # which Polars reads in CSV
    if foreign or old_ends:
        if packed == "zstd":
            raise TransferError(f"{path}: zstd around another text than UTF-8 is not read; unpack it: zstd -d {path.name}")
        kept = _temporary(size * 2)
        source = kept.path
        with source.open("wb") as to:
            recoded(path, packed, encoding, dialect, to, old_ends)
        notes += [encoding] if encoding != dialect.encoding and encoding == "utf-16" else []
        first = _first_line(source, "")
    if as_json:
        if is_object(first):
            return Source(source, "", kept=kept, notes=tuple(notes))
        if packed == "zstd":
            raise TransferError(f"{path}: zstd around JSON that is not an object a line; unpack it: zstd -d {path.name}")
        lines = _temporary(size * 2)
        with _bytes(source, "" if kept else packed) as file, lines.path.open("wb") as to:
            write_objects(path, file, to)
        return Source(lines.path, "", same_lines=False, kept=lines, notes=tuple(notes))
    separator = separator_of(path, dialect, first.decode(errors="replace").rstrip("\r\n"))
    if len(separator.encode()) > 1:
        if dialect.quoted:
            raise TransferError(f"{path}: quotes are text where the separator is {separator}; leave `quoted` out")
        line = pl.col("line")
        changed, kept = _rewritten(source, size, line.str.replace_all(separator, BETWEEN, literal=True), path, dialect)
        return Source(changed, BETWEEN, quoted=False, kept=kept, notes=tuple(notes))
    if ending(path).suffix in UNQUOTED and (cut := _run_on(first.decode(errors="replace").rstrip("\r\n"))):
        line = pl.col("line").str.replace("".join(cut), "\n".join(cut), literal=True)
        changed, kept = _rewritten(source, size, line, path, dialect)
        return Source(changed, separator, quoted=False, same_lines=False, kept=kept, notes=(*notes, "header_run_on"))
    quoted, escaped = _quotes(source, separator, ending(path).suffix, dialect)
    if escaped:
        line = pl.col("line").str.replace_all(r"\\", "\x1e", literal=True).str.replace_all(r"\"", '""', literal=True)
        source, kept = _rewritten(source, size, line.str.replace_all("\x1e", "\\", literal=True), path, dialect)
        notes.append("escaped_quotes")
    return Source(source, separator, quoted, kept=kept, notes=tuple(notes))


def _run_on(first: str) -> tuple[str, str] | None:
    """RecBole's typed header and the first row, where both stand in one line; None where they do not."""
    found = RUN_ON.fullmatch(first)
    if found is None or first.count("\t") != 2 * found[1].count("\t"):
        return None
    return found[1], found[2]


def lines_of(source: Path, dialect: Dialect) -> Iterator[str]:
    """The lines of a text in UTF-8, packed or not, without their ends; the memory is that of some of them.

    Raises TransferError, with the line, for bytes that are none: Polars looks at those of the wanted cells alone.
    """
    try:
        for batch in pl.scan_lines(source, glob=False).collect_batches(maintain_order=True):
            yield from batch["line"].fill_null("")
    except (*POLARS, OSError) as error:
        if (packed := packing(source)) != "zstd":
            recoded(source, packed, "utf-8", dialect)
        raise TransferError(f"{source}: not read as text ({str(error).splitlines()[0]}); repair the file") from None


def recoded(
    path: Path, packed: str, encoding: str, dialect: Dialect, to: IO[bytes] | None = None, old_ends: bool = False
) -> None:
    """Write the text in UTF-8. Raises TransferError, with the line, at the first bytes that are not in this encoding, and
    for text that surely is in another: UTF-8, or cp1252 in the place of latin-1."""
    try:
        "".encode(encoding)
    except LookupError:
        raise TransferError(
            f"{path}: {encoding!r} is no encoding of text; {to_write(dialect, encoding='latin-1')} or cp1252, utf-16 …"
        ) from None
    decoder, utf8, line, foreign = (
        codecs.getincrementaldecoder(encoding)(),
        codecs.getincrementaldecoder("utf-8")(),
        1,
        False,
    )
    may_be_utf8 = (
        codecs.lookup(encoding).name != "utf-8" and len("ab".encode(encoding)) == 2
    )  # of bytes for English letters
    with _bytes(path, packed) as file:
        while True:
            data = file.read(CHUNK)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeError as error:
                at = getattr(error, "start", 0)
                before, rest = error.object[:at], error.object[at:]  # type: ignore[attr-defined]
                line += before.count(b"\n")
                raise _not_of(path, line, before, rest, encoding, dialect) from None
            if may_be_utf8:
                foreign |= not data.isascii()
                try:
                    utf8.decode(data, final=not data)
                except UnicodeError:
                    may_be_utf8 = False
            if encoding.lower().replace("_", "-") in ("latin-1", "latin1", "iso-8859-1") and (
                found := re.search("[\x80-\x9f]", text)
            ):
                line += text.count("\n", 0, found.start())
                raise TransferError(
                    f"{path}, line {line}: it is cp1252 and no {encoding}; {to_write(dialect, encoding='cp1252')}"
                )
            line += text.count("\n")
            if to is not None:
                to.write((text.replace("\r\n", "\n").replace("\r", "\n") if old_ends else text.lstrip("\ufeff")).encode())
            if not data:
                break
    if may_be_utf8 and foreign:
        raise TransferError(f"{path}: it is UTF-8, which {encoding} would read as other letters; leave `encoding` out")


def _not_of(path: Path, line: int, before: bytes, rest: bytes, encoding: str, dialect: Dialect) -> TransferError:
    """The line of bytes that are not in an encoding, as the likely one would read it."""
    if b"\0" in before[-64:] + rest[:64]:
        likely = "utf-16-le" if b"\0" in rest[1:64:2] or b"\0" in before[1:64:2] else "utf-16-be"
        return TransferError(f"{path}, line {line}: bytes that are not {encoding}; {to_write(dialect, encoding=likely)}")
    around = before.rpartition(b"\n")[2] + rest.partition(b"\n")[0]
    likely = "cp1252" if re.search(rb"[\x80-\x9f]", before + rest) else "latin-1"
    shown = around[max(0, len(before.rpartition(b"\n")[2]) - 12) :][:24].decode(likely, "replace").strip()
    return TransferError(
        f"{path}, line {line}: bytes that are not {encoding}; set `encoding` to the one it was written in: "
        f"{to_write(dialect, encoding=likely)} reads {shown!r} there"
    )


def _bytes(path: Path, packed: str) -> Any:
    return gzip.open(path, "rb") if packed == "gzip" else path.open("rb")


def _first_line(path: Path, packed: str) -> bytes:
    """The first line that is not blank, as bytes; of zstd, which Polars unpacks, that of a text in UTF-8."""
    if packed == "zstd":
        try:
            lines = pl.scan_lines(path, glob=False, n_rows=100).collect()["line"]
        except (*POLARS, OSError) as error:
            reason = str(error).splitlines()[0]
            raise TransferError(f"{path}: not read ({reason}); unpack it: zstd -d {path.name}") from None
        return next((line for line in lines if line.strip()), "").encode()
    with _bytes(path, packed) as file:
        while line := file.readline(LINE):
            if line.strip():
                return line
    return b""


def _is_json(path: Path, first: bytes) -> bool:
    suffix = ending(path).suffix
    return suffix in JSON or (suffix in ("", ".txt") and is_object(first))


def _rewritten(source: Path, size: int, line: pl.Expr, path: Path, dialect: Dialect) -> tuple[Path, _Temporary]:
    """The text with every line changed, in a temporary file."""
    to = _temporary(size * 2)
    try:
        text = pl.scan_lines(source, glob=False)
        if text.select(pl.col("line").str.contains("[\x1e\x1f]").any()).collect(engine="streaming").item():
            raise TransferError(f"{path}: it has the signs 0x1E or 0x1F, which this way of reading needs; remove them")
        text.select(line).sink_csv(to.path, include_header=False, quote_style="never")
    except (*POLARS, OSError) as error:
        recoded(path, packing(path), "utf-8", dialect) if packing(path) != "zstd" else None
        raise TransferError(f"{path}: cannot be read ({str(error).splitlines()[0]}); repair the file") from None
    return to.path, to


def _quotes(source: Path, separator: str, suffix: str, dialect: Dialect) -> tuple[bool, bool]:
    """Whether cells are quoted, and a quote inside is written \\": as said, else the first way that fits all lines."""
    if dialect.quoted is False or (dialect.quoted is None and suffix in UNQUOTED):
        return False, False
    line = pl.col("line")
    found = {"quote": line.str.contains('"', literal=True).any(), "escape": line.str.contains(r"\"", literal=True).any()}
    try:
        has = pl.scan_lines(source, glob=False).select(**found).collect(engine="streaming").row(0, named=True)
    except (*POLARS, OSError):  # told where the table is read
        return True, False
    ways = [(True, True)] if has["escape"] else []
    ways += [(False, False)] if has["quote"] and separator == "\t" and dialect.quoted is None else []
    every = [(True, False), *ways]
    return next((way for way in every if _fits(source, separator, dialect, *way)), every[0]) if ways else every[0]


def _fits(source: Path, separator: str, dialect: Dialect, quoted: bool, escaped: bool) -> bool:
    """Whether all rows have as many cells as the first, and no quote stands where none may."""
    how: dict[str, Any] = {"delimiter": separator, "strict": quoted}
    how |= {} if quoted else {"quoting": csv.QUOTE_NONE}
    how |= {"escapechar": "\\", "doublequote": True} if escaped else {}
    width = 0
    try:
        for cells in csv.reader((line.replace("\r", " ") + "\n" for line in lines_of(source, dialect)), **how):
            width = width or len(cells)
            if cells and len(cells) != width:
                return False
    except csv.Error:
        return False
    return True


class _Temporary:
    """A file that is gone when nobody holds this any more, and at the end of the process."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="transfer-", suffix=".csv")
        os.close(handle)
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


def _temporary(size: int) -> _Temporary:
    """A file to write. Raises MachineError where so many bytes have no place."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise MachineError(
            f"{tempfile.gettempdir()}: {size:,} bytes are needed to rewrite a file, and {free:,} are free; set TMPDIR to a "
            "place that has them"
        )
    return _Temporary()

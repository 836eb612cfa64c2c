"""JSON as rows: an object a line, its fields the columns; an array, or objects over several lines, as such lines."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn

import polars as pl

from transfer.errors import TransferError

LOOKED_AT = 10_000  # objects of a file, whose fields are its columns
DEEPEST, MOST = 3, 500  # fields within fields that are columns, and how many are
LONGEST = 2**24  # characters of an object
CHUNK = 2**20
BETWEEN = re.compile(r"[\s,]*")  # what stands before an object
WANTED = 'write {"user": …, "item": …}'


def is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def rows_of(path: Path, source: Path, lines: Iterable[str]) -> pl.LazyFrame:
    """The fields of the first objects as columns of text: those of an object within as name.field, a list of texts with a
    stroke between them.

    path: the file as people know it; source: where its lines are, which are given too.
    """
    kinds: dict[tuple[str, ...], set[str]] = {}
    for number, line in enumerate(islice(lines, LOOKED_AT)):
        if line.strip():
            _look(object_of(path, line, number + 1), (), kinds)
    within = {place[:depth] for place in kinds for depth in range(1, len(place))}
    places = [place for place, found in kinds.items() if place and not (found == {"none"} and place in within)]
    if len(places) > MOST:  # a table of its own, whose fields are no columns
        places = [place for place in places if len(place) == 1]
    if not places:
        raise TransferError(f"{path}: no fields in its objects; {WANTED}")
    rows = pl.scan_ndjson(source, schema={place[0]: pl.String for place in places})
    return rows.select(_cell(place, "list" in kinds.get(place, ())).alias(".".join(place)) for place in places)


def _look(value: Any, place: tuple[str, ...], kinds: dict[tuple[str, ...], set[str]]) -> None:
    """Note of what kind a value is, and of an object that of its fields."""
    if isinstance(value, dict) and value and len(place) < DEEPEST and not any("'" in key for key in value):
        for key, inner in value.items():
            _look(inner, (*place, key), kinds)
    else:
        kind = "list" if isinstance(value, list) else "none" if value is None or value == {} else "text"
        kinds.setdefault(place, set()).add(kind)


def _cell(place: tuple[str, ...], listed: bool) -> pl.Expr:
    """What stands at a place of an object, as text."""
    cell = pl.col(place[0])
    if len(place) > 1:
        cell = cell.str.json_path_match("$" + "".join(f"['{key}']" for key in place[1:]))
    return _joined(cell) if listed else cell


def _joined(cell: pl.Expr) -> pl.Expr:
    """`["a", "b"]`, as Polars writes a list of texts, or one of such lists, as a|b."""
    inner = cell.str.strip_chars_start('["').str.strip_chars_end('"]').str.replace_all(r'"\]*,\s*\[*"', "|")
    of_texts = cell.str.contains(r'^\[+"') & ~cell.str.contains("{", literal=True)
    empty = cell.str.contains(r"^[\[\]]*$")
    return pl.when(empty).then(None).when(of_texts).then(inner.str.replace_all('\\"', '"', literal=True)).otherwise(cell)


def object_of(path: Path, line: str, number: int) -> dict[str, Any]:
    """The object of a line. Raises TransferError for one that has none."""

    try:
        found = json.loads(line, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise TransferError(f"{path}, line {number}: not JSON ({_first(error)}); correct or remove the line") from None
    if not isinstance(found, dict):
        raise TransferError(f"{path}, line {number}: no object with named fields; {WANTED}")
    return found


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def write_objects(path: Path, file: BinaryIO, to: IO[bytes]) -> None:
    """The objects of an array, or of a text in which they stand over several lines, one a line; numbers as their text.

    Raises TransferError, with the line, for what is no JSON and for an array that does not end.
    """
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refused)
    texts, buffer, place, line, count = codecs.getreader("utf-8")(file), "", 0, 1, 0
    ends_with: str | None = None
    while True:
        begins = BETWEEN.match(buffer, place).end()  # type: ignore[union-attr]
        if ends_with is None and (opening := buffer[begins : begins + 1]):
            ends_with, place = ("]", begins + 1) if opening == "[" else ("", begins)
            continue
        try:
            found, place_after = decoder.raw_decode(buffer, begins)
        except (ValueError, RecursionError) as error:
            try:
                more = texts.read(CHUNK) if len(buffer) - place < LONGEST else ""
            except UnicodeError:
                raise TransferError(f"{path}: its text is not UTF-8; set `encoding` to the one it was written in") from None
            if more:
                line += buffer.count("\n", 0, place)
                buffer, place = buffer[place:] + more, 0
                continue
            if count and buffer[begins:].strip() == ends_with:
                return
            at = line + buffer.count("\n", 0, getattr(error, "pos", place))
            literal = "repair it" if "'" not in buffer[:99] else "if it is Python's repr, write it with json.dumps"
            raise TransferError(f"{path}, line {at}: not JSON ({_first(error)}); {literal}") from None
        if not isinstance(found, dict):
            raise TransferError(f"{path}: entry {count + 1} is no object with named fields; {WANTED}")
        to.write(json.dumps(found).encode() + b"\n")
        count, place = count + 1, place_after


def _first(error: Exception) -> str:
    """The first words of a parser's message."""
    return str(error).partition(":")[0].splitlines()[0][:80] or type(error).__name__

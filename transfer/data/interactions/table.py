"""One file as a table: its header first, then the wanted columns; every fault is told with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from transfer.errors import TransferError
from transfer.storage.damaged import POLARS

SEPARATORS = {".inter": "\t", ".item": "\t", ".tsv": "\t", ".txt": "\t", ".csv": ","}
UNQUOTED = {".inter", ".item"}
UTF8 = {"utf-8", "utf8"}  # read lazily by Polars; any other encoding is decoded as a whole first


@dataclass(frozen=True)
class Table:
    """One file, not read yet; `separator` is empty for Parquet; `header`: whether its first row has the columns' names."""

    path: Path
    rows: pl.LazyFrame
    schema: dict[str, pl.DataType]
    separator: str
    encoding: str
    header: bool = True


def open_table(path: Path, separator: str | None, encoding: str, columns: tuple[str, ...] = ()) -> Table:
    """Read the header; everything in text files stays text, so that ids keep their zeros.

    columns: the names of all columns of a text file without a header.
    """
    if path.stat().st_size == 0:
        raise TransferError(f"{path}: the file is empty; give one with a header and rows")
    try:
        if path.suffix == ".parquet":
            rows, separator = pl.scan_parquet(path, glob=False), ""
        else:
            separator = separator or SEPARATORS.get(path.suffix)
            if separator is None or len(separator.encode()) != 1:
                known = ", ".join([*SEPARATORS, ".parquet"])
                raise TransferError(f"{path}: unknown format; use one of {known}, or set `separator` to one character")
            source = path if encoding.lower() in UTF8 else decoded(path, encoding).encode()
            quote = None if path.suffix in UNQUOTED else '"'
            how: dict[str, Any] = {"separator": separator, "quote_char": quote, "infer_schema": False, "glob": False}
            rows = pl.scan_csv(source, has_header=not columns, **how)
            if columns and len(found := rows.collect_schema()) != len(columns):
                given = ", ".join(columns)
                raise TransferError(f"{path}: it has {len(found)} columns, and `columns` names {given}; name each once")
            rows = rows.rename(dict(zip(found, columns, strict=True))) if columns else rows
        schema = dict(rows.collect_schema())
    except POLARS as error:
        raise TransferError(f"{path}: {str(error).splitlines()[0]}; give a file with a header and rows") from None
    if "\ufffd" in "".join(schema):
        decoded(path, encoding)
    return Table(path, rows, schema, separator, encoding, not columns)


def decoded(path: Path, encoding: str) -> str:
    """The whole text; fails at the first bytes that are not in this encoding."""
    data = path.read_bytes()
    try:
        return data.decode(encoding)
    except LookupError:
        raise TransferError(f"{path}: {encoding!r} is no encoding of text; set `encoding` to e.g. latin-1") from None
    except UnicodeError as error:
        line = data.count(b"\n", 0, getattr(error, "start", 0)) + 1
        remedy = "set `encoding` to the one it was written in, e.g. latin-1 or cp1252"
        raise TransferError(f"{path}, line {line}: bytes that are not {encoding}; {remedy}") from None


def collect(table: Table, wanted: dict[str, pl.Expr]) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read the wanted columns with the index of each `row`; refuse ragged rows, skip and count blank lines."""
    # Polars fills short rows with nulls, and sees long ones only if it parses all columns: hence the two extras.
    short = pl.col(list(table.schema)[-1]).is_null().alias("short")
    whole = pl.QueryOptFlags(projection_pushdown=not table.separator)
    query = table.rows.select(short, **wanted)
    try:
        rows = query.collect(engine="streaming", optimizations=whole).with_row_index("row")
    except POLARS as error:
        if table.separator:
            decoded(table.path, table.encoding)
            _blank_rows(table)
        reason = str(error).splitlines()[0]
        raise TransferError(f"{table.path}: cannot be parsed ({reason}); set `separator` or repair the file") from None
    notes = {}
    if table.separator and rows["short"].any():
        blank = _blank_rows(table)
        rows = rows.filter(~pl.col("row").is_in(blank))
        notes = {"blank_lines": len(blank)} if blank else {}
    if rows.is_empty():
        raise TransferError(f"{table.path}: no rows below the header; give a file with rows")
    return rows.drop("short"), notes


def refuse(table: Table, rows: pl.DataFrame, column: str, bad: pl.Expr, problem: str) -> None:
    """Stop at the first bad row; CELL in `problem` becomes what stands there in the file."""
    wrong = rows.filter(bad)
    if wrong.is_empty():
        return
    row = int(wrong["row"][0])
    place = f"row {row + 1}"
    if table.separator:
        place = next((f"line {line}" for index, (line, _) in enumerate(lines_of(table)) if index == row), place)
    cell = table.rows.select(column).slice(row, 1).collect().item()
    shown = "''" if cell is None else repr(cell)
    raise TransferError(f"{table.path}, {place}: {problem.replace('CELL', shown)}")


def lines_of(table: Table) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row below the header; slow, for messages and doubtful files only."""
    with table.path.open(encoding=table.encoding, newline="") as file:
        quotes: Literal[0, 3] = csv.QUOTE_NONE if table.path.suffix in UNQUOTED else csv.QUOTE_MINIMAL
        reader = csv.reader(file, delimiter=table.separator, quoting=quotes)
        try:
            while table.header and not next(reader):
                pass
            line = reader.line_num + 1
            for fields in reader:
                yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise TransferError(f"{table.path}: {error}; is a quote left open? Repair the file") from None


def _blank_rows(table: Table) -> list[int]:
    """Rows that are empty lines; refuses rows with more or fewer fields than the header."""
    blank, width = [], len(table.schema)
    for index, (line, fields) in enumerate(lines_of(table)):
        if not fields:
            blank.append(index)
        elif len(fields) != width:
            problem = f"{len(fields)} fields, the header has {width}; repair or remove the row"
            raise TransferError(f"{table.path}, line {line}: {problem}")
    return blank

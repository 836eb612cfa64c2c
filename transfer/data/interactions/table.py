"""A file, or several of one kind, as a table: its header, then the wanted columns; every fault is told with its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from transfer.data.given import from_memory
from transfer.data.interactions import json_lines
from transfer.data.interactions.formats import PARQUET, Dialect, ending, named_by_kind, to_write
from transfer.data.interactions.places import files_of, is_empty
from transfer.data.interactions.plain import UTF8, Source, lines_of, plain, recoded
from transfer.data.kept import noted
from transfer.errors import TransferError
from transfer.storage.damaged import POLARS
from transfer.storage.memory import host_memory
from transfer.storage.packed import packing

RAISED = (*POLARS, OSError)


@dataclass(frozen=True)
class Part:
    """One file, not read yet; source: the text that Polars reads, None for Parquet."""

    path: Path
    rows: pl.LazyFrame
    source: Source | None
    header: bool

    @property
    def is_json(self) -> bool:
        return self.source is not None and not self.source.separator


@dataclass(frozen=True)
class Table:
    """The files that a path means, not read yet, their rows one after another; `schema`: their columns."""

    path: Path
    rows: pl.LazyFrame
    schema: dict[str, pl.DataType]
    parts: tuple[Part, ...]
    dialect: Dialect
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether it has a row for every line, with cells between separators."""
        return any(part.source is not None and part.source.separator for part in self.parts)


def open_table(path: Path, dialect: Dialect) -> Table:
    """Read the headers; everything in text files stays text, so that ids keep their zeros.

    Raises TransferError for files of which one has other columns than the first, but for fields of JSON.
    """
    if (frame := from_memory(path)) is not None:
        return Table(path, frame.lazy(), dict(frame.schema), (), dialect)
    found = [(noted(place), more) for place, more in files_of(path)]
    full = [(place, more) for place, more in found if not is_empty(place)]
    if not full:
        raise TransferError(f"{path}: the file is empty; give one with a header and rows")
    parts, schema = list[Part](), dict[str, pl.DataType]()
    for place, more in full:
        part, columns = _open(place, dialect, more)
        if parts and set(columns) != set(schema) and not (part.is_json or parts[0].is_json):
            raise TransferError(_other_columns(place, list(columns), full[0][0], list(schema), dialect))
        parts.append(part)
        schema = schema | {name: kind for name, kind in columns.items() if name not in schema}
    rows = parts[0].rows
    if len(parts) > 1:  # of JSON some may lack a field
        rows = pl.concat([part.rows for part in parts], how="diagonal_relaxed")
        schema = dict(rows.collect_schema())
    notes = {"files": len(full)} if len(found) > 1 else {}
    notes |= {"empty_files": len(found) - len(full)} if len(found) > len(full) else {}
    for note in (note for part in parts if part.source for note in part.source.notes):
        notes[note] = notes.get(note, 0) + 1
    return Table(path, rows, schema, tuple(parts), dialect, notes)


def _open(path: Path, dialect: Dialect, more: dict[str, str]) -> tuple[Part, dict[str, pl.DataType]]:
    """One file and its columns."""
    source, header = None, False
    try:
        if ending(path).suffix in PARQUET:
            _refuse_idle(path, dialect, "separator")
            rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        else:
            source = plain(path, dialect)
            header = bool(source.separator) and dialect.has_header
            if source.separator:
                rows = _text(path, source, dialect)
            else:
                _refuse_idle(path, dialect)
                rows = json_lines.rows_of(path, source.path, lines_of(source.path, dialect))
        hive = [name for name in more if name not in rows.collect_schema()]
        rows = rows.with_columns(pl.lit(more[name], pl.String).alias(name) for name in hive)
        schema = dict(rows.collect_schema())
    except RAISED as error:
        _find_encoding(path, source, dialect)
        raise TransferError(f"{path}: {str(error).splitlines()[0]}; give a file with a header and rows") from None
    if "\ufffd" in "".join(schema) and source is not None:
        recoded(path, packing(path), "utf-8", dialect)
    return Part(path, rows, source, header), schema


def _refuse_idle(path: Path, dialect: Dialect, *more: str) -> None:
    """Raise TransferError for what was said of a file that has names for its columns and no lines of cells."""
    for setting in ("columns", "header", "quoted", *more):
        if getattr(dialect, setting) not in (None, ()):
            raise TransferError(f"{path}: `{setting}` says nothing of a file of this kind; leave it out")


def _text(path: Path, source: Source, dialect: Dialect) -> pl.LazyFrame:
    how: dict[str, Any] = {"separator": source.separator, "infer_schema": False, "glob": False}
    rows = pl.scan_csv(source.path, has_header=dialect.has_header, quote_char='"' if source.quoted else None, **how)
    found = list(rows.collect_schema())
    if twice := [name for name in found if "_duplicated_" in name and name.partition("_duplicated_")[0] in found]:
        raise TransferError(f"{path}, line 1: two columns are called {twice[0].partition('_duplicated_')[0]!r}; rename one")
    if dialect.columns and len(found) != len(dialect.columns):
        given = ", ".join(dialect.columns)
        raise TransferError(f"{path}: it has {len(found)} columns, and `columns` names {given}; name each once")
    if not dialect.columns and not dialect.has_header:
        cells = [str(cell or "") for cell in rows.head(1).collect().row(0)] if found else []
        raise TransferError(
            f"{path}: what are its columns? Its first row is {', '.join(cells)}: "
            f"{to_write(dialect, header=False, columns=named_by_kind(cells))}"
        )
    return rows.rename(dict(zip(found, dialect.columns, strict=True))) if dialect.columns else rows


def _other_columns(path: Path, columns: list[str], first: Path, of_first: list[str], dialect: Dialect) -> str:
    remedy = "give all files of a domain the same columns"
    if any(re.fullmatch(r"-?\d+(\.\d*)?", name.strip()) for name in columns):
        remedy = f"its first line looks like a row: give it the header of {first.name}"
    return f"{path}: its columns are {', '.join(columns)}, and those of {first.name} are {', '.join(of_first)}; {remedy}"


def collect(table: Table, wanted: dict[str, pl.Expr]) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read the wanted columns with the index of each `row`; refuse ragged rows, skip and count blank lines.

    The files are read in a stream. Raises TransferError where the columns alone need more memory than there is.
    """
    # Polars fills short rows with nulls, and sees long ones only if it parses all columns: hence the two extras.
    short = pl.col(list(table.schema)[-1]).is_null().alias("short")
    whole = pl.QueryOptFlags(projection_pushdown=not table.is_text)
    query = table.rows.select(short, **wanted)
    try:
        rows = _within_memory(table, query, whole).with_row_index("row")
    except RAISED as error:
        for part in table.parts:
            _find_fault(part, table)
        if table.is_text:
            _blank_rows(table)
        reason, more = str(error).splitlines()[0], _without_quotes(table.parts[0], table.dialect)
        raise TransferError(
            f"{table.path}: cannot be parsed ({reason}); set `separator` or repair the file{more}"
        ) from None
    notes = dict(table.notes)
    if table.is_text and rows["short"].any():
        blank = _blank_rows(table)
        rows = rows.filter(~pl.col("row").is_in(blank))
        notes |= {"blank_lines": len(blank)} if blank else {}
    if rows.is_empty():
        raise TransferError(f"{table.path}: no rows below the header; give a file with rows")
    return rows.drop("short"), notes


def _within_memory(table: Table, query: pl.LazyFrame, flags: pl.QueryOptFlags) -> pl.DataFrame:
    """The rows, collected batch by batch, and no further than there is memory for them twice."""
    batches, size, most = [query.clear().collect()], 0.0, host_memory()
    for batch in query.collect_batches(maintain_order=True, engine="streaming", optimizations=flags):
        batches.append(batch)
        size += batch.estimated_size()
        if 2 * size > most.size:
            raise TransferError(
                f"{table.path}: its columns need more than the {most.size / 2**30:.1f} GiB that are free {most.bound}; "
                "keep fewer rows or shorter ids"
            )
    return pl.concat(batches)


def _find_fault(part: Part, table: Table) -> None:
    """Raise TransferError with the line of what Polars cannot read in a text, if it is found."""
    _find_encoding(part.path, part.source, table.dialect)
    if part.source is not None and part.is_json:
        for number, line in enumerate(lines_of(part.source.path, table.dialect)):
            if line.strip():
                json_lines.object_of(part.path, line, number + 1)


def _find_encoding(path: Path, source: Source | None, dialect: Dialect) -> None:
    """Raise TransferError with the first line of a text that is not in UTF-8, where it should be."""
    if source is not None and source.kept is None and dialect.encoding.lower() in UTF8 and packing(path) != "zstd":
        recoded(path, packing(path), "utf-8", dialect)


def refuse(table: Table, rows: pl.DataFrame, column: str, bad: pl.Expr, problem: str) -> None:
    """Stop at the first bad row; CELL in `problem` becomes what stands there in the file."""
    wrong = rows.filter(bad)
    if wrong.is_empty():
        return
    row = int(wrong["row"][0])
    cell = table.rows.select(column).slice(row, 1).collect().item()
    shown = "''" if cell is None else repr(cell)
    raise TransferError(f"{place_of(table, row)}: {problem.replace('CELL', shown)}")


def place_of(table: Table, row: int) -> str:
    """`ratings.csv, line 7`: the file and the line of a row of the table."""
    for part in table.parts:
        count = part.rows.select(pl.len()).collect().item() if len(table.parts) > 1 else row + 1
        if row < count:
            line = (
                next((line for line, _ in islice(rows_of(part, table.dialect), row, row + 1)), None)
                if part.source
                else None
            )
            return f"{part.path}, " + (f"row {row + 1}" if line is None else f"line {line}")
        row -= count
    return f"{table.path}, row {row + 1}"  # of a frame in memory


def rows_of(part: Part, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row below the header; slow, for messages and doubtful files only."""
    source = part.source
    if source is None or not source.same_lines:
        return
    lines = lines_of(source.path, dialect)
    if not source.separator:
        yield from ((number + 1, [line]) for number, line in enumerate(lines) if line.strip())
        return
    quotes: Any = csv.QUOTE_MINIMAL if source.quoted else csv.QUOTE_NONE
    reader = csv.reader((line.replace("\r", " ") + "\n" for line in lines), delimiter=source.separator, quoting=quotes)
    try:
        while part.header and not next(reader):
            pass
        line = reader.line_num + 1
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise TransferError(f"{part.path}: {error}; is a quote left open? Repair the file") from None


def _blank_rows(table: Table) -> list[int]:
    """Rows that are empty lines; refuses rows with more or fewer cells than the header."""
    blank, index = [], 0
    for part in table.parts:
        if part.source is None or not part.source.separator:  # beside texts, in a pattern that fits both
            index += part.rows.select(pl.len()).collect().item()
            continue
        width = len(part.rows.collect_schema())
        for line, cells in rows_of(part, table.dialect):
            if not cells:
                blank.append(index)
            elif len(cells) != width:
                problem = f"{len(cells)} fields, the header has {width}; repair or remove the row"
                raise TransferError(f"{part.path}, line {line}: {problem}{_without_quotes(part, table.dialect)}")
            index += 1
    return blank


def _without_quotes(part: Part, dialect: Dialect) -> str:
    """What to write where quotes may be text, which is tried on the lines of the file."""
    source = part.source
    if source is None or not source.quoted or dialect.quoted is not None:
        return ""
    widths: Sequence[int] = [
        line.count(source.separator) for line in islice(lines_of(source.path, dialect), json_lines.LOOKED_AT) if line
    ]
    return f"; where quotes are text, {to_write(dialect, quoted=False)}" if len(set(widths)) == 1 else ""

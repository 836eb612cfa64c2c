"""Files -> Domain: RecBole atomic files, MovieLens, goodbooks, Book-Crossing, any other CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import polars as pl
from polars.exceptions import PolarsError

from transfer.config.domains import Files
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.errors import TransferError

SEPARATORS = {".inter": "\t", ".item": "\t", ".tsv": "\t", ".txt": "\t", ".csv": ","}
UNQUOTED = {".inter", ".item"}
UTF8 = {"utf-8", "utf8"}  # read lazily by Polars; any other encoding is decoded as a whole first

# Names by which a column is recognised: lower case, letters and digits only; the first that is there wins.
ALIASES = {
    "user": ("userid", "user", "reviewerid"),
    "item": ("itemid", "movieid", "bookid", "isbn", "parentasin", "asin", "item"),
    "rating": ("rating", "bookrating", "overall", "stars"),
    "time": ("timestamp", "time", "unixreviewtime"),
    "title": ("title", "booktitle", "movietitle"),
    "author": ("author", "authors", "bookauthor"),
    "year": ("year", "originalpublicationyear", "yearofpublication", "publicationyear", "releaseyear"),
    "genres": ("genres", "genre", "class", "categories"),
}
TYPES = re.compile(r":(token|token_seq|float|float_seq)$")  # of RecBole headers
MILLISECONDS, LATEST = 1e11, 1e14  # above the first a time is in milliseconds; above the second it is no time


@dataclass(frozen=True)
class Table:
    """One file, not read yet; `separator` is empty for Parquet."""

    path: Path
    rows: pl.LazyFrame
    schema: dict[str, pl.DataType]
    separator: str
    encoding: str


def read_domain(files: Files, data_dir: Path) -> Domain:
    """Read the interactions and the item table of one domain.

    Args:
        files: paths, column names, declared scale; relative paths are looked up in `data_dir`, then where we are.
    Returns: the domain; events in file order, `notes` counting what was converted or skipped on the way.
    Raises: TransferError, one line with file, line and remedy, at the first fault.
    """
    path = locate(files.path, data_dir)
    table = _open(path, files.separator, files.encoding)
    events, notes = _events(table, files)
    listed = pl.DataFrame(schema={"item": pl.String, "title": pl.String})
    if place := _item_table(files, path, data_dir):
        alike = SEPARATORS.get(place.suffix) == SEPARATORS.get(path.suffix)
        listed = _items(_open(place, files.separator if alike else None, files.encoding), files)
    return Domain(files.name or path.stem, events, listed, files.scale, files.positive, notes)


def _item_table(files: Files, path: Path, data_dir: Path) -> Path | None:
    """The file with titles: as given, RecBole's X.item beside X.inter, or the interactions if they have titles."""
    if files.items:
        return locate(files.items, data_dir)
    sibling = path.with_suffix(".item")
    if path.suffix == ".inter" and sibling.exists():
        return sibling
    return path if files.title else None


def locate(name: str, data_dir: Path) -> Path:
    """The existing file that `name` means: absolute, in `data_dir`, or relative to the current directory."""
    if name == "???":
        raise TransferError("a domain's file is not given: write domain.target=FILE and domain.source=FILE")
    places = [Path(name)] if Path(name).is_absolute() else [data_dir / name, Path(name)]
    for place in places:
        if place.is_file():
            return place
    tried = " or ".join(str(place.absolute()) for place in places)
    raise TransferError(f"no file {tried}; correct the path, or set data_dir=... or TRANSFER_DATA")


def _open(path: Path, separator: str | None, encoding: str) -> Table:
    """Read the header; everything in text files stays text, so that ids keep their zeros."""
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
            source = path if encoding.lower() in UTF8 else _decoded(path, encoding).encode()
            quote = None if path.suffix in UNQUOTED else '"'
            rows = pl.scan_csv(source, separator=separator, quote_char=quote, infer_schema=False, glob=False)
        schema = dict(rows.collect_schema())
    except PolarsError as error:
        raise TransferError(f"{path}: {str(error).splitlines()[0]}; give a file with a header and rows") from None
    if "\ufffd" in "".join(schema):
        _decoded(path, encoding)
    return Table(path, rows, schema, separator, encoding)


def _decoded(path: Path, encoding: str) -> str:
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


def _events(table: Table, files: Files) -> tuple[pl.DataFrame, dict[str, int]]:
    """Select, check and convert the four columns of EVENTS."""
    user, item = _required(table, "user", files.user), _required(table, "item", files.item)
    rating, time = _column(table, "rating", files.rating), _column(table, "time", files.time)
    wanted = {"user": _text(table, user), "item": _text(table, item)}
    if rating:
        wanted["rating"] = _number(table, rating)
    if time:
        wanted["time"] = _number(table, time)
    rows, notes = _collect(table, wanted)

    fix = "correct or remove the row"
    for name, column in (("user", user), ("item", item)):
        _refuse(table, rows, column, _blank(name), f"empty {name} id; {fix}")
    if rating:
        value = pl.col("rating")
        finite = value.cast(pl.Float32).is_finite().fill_null(False)
        _refuse(table, rows, rating, ~finite, f"rating CELL is not a finite number; {fix}")
        if files.scale:
            low, high = files.scale
            problem = f"rating CELL is outside the declared scale [{low:g}, {high:g}]; change `scale` or fix the row"
            _refuse(table, rows, rating, ~value.is_between(low, high), problem)
    if time:
        moment = pl.col("time")
        problem = f"time CELL is not a number of seconds (or milliseconds) since 1970; {fix}"
        _refuse(table, rows, time, ~moment.is_between(0, LATEST).fill_null(False), problem)
        late = moment > MILLISECONDS
        if count := rows.select(late.sum()).item():
            notes["milliseconds"] = count
        rows = rows.with_columns(pl.when(late).then(moment / 1000).otherwise(moment).floor().alias("time"))
    columns = [(pl.col(c) if c in rows.columns else pl.lit(None)).cast(t).alias(c) for c, t in EVENTS.items()]
    return rows.select(columns), notes


def _items(table: Table, files: Files) -> pl.DataFrame:
    """One row per item: id, title (null where empty) and what else is recognised."""
    item = files.item if files.item in table.schema else _required(table, "item", None)
    wanted = {"item": _text(table, item)}
    for name, given in (("title", files.title), ("author", None), ("genres", None)):
        if column := _column(table, name, given):
            wanted[name] = _text(table, column)
    if year := _column(table, "year", None):
        wanted["year"] = _number(table, year)
    rows, _ = _collect(table, wanted)
    _refuse(table, rows, item, _blank("item"), "empty item id; correct or remove the row")
    rows = rows.drop("row").unique("item", keep="first", maintain_order=True)
    words = [name for name in ("title", "author", "genres") if name in wanted]
    rows = rows.with_columns(pl.Series(name, [_clean_text(text) for text in rows[name]], pl.String) for name in words)
    if year:  # 0 is how some tables write "unknown"
        number = pl.col("year").cast(pl.Int32, strict=False)
        rows = rows.with_columns(year=pl.when(number != 0).then(number))
    if "title" not in wanted:
        rows = rows.with_columns(title=pl.lit(None, pl.String))
    return rows.select("item", "title", *(name for name in ("author", "year", "genres") if name in wanted))


def _clean_text(text: str | None) -> str | None:
    return html.unescape(text).strip() or None if text else None


def _blank(name: str) -> pl.Expr:
    return pl.col(name).fill_null("").str.strip_chars() == ""


def _required(table: Table, role: str, given: str | None) -> str:
    column = _column(table, role, given)
    if column is None:
        _no_column(table, f"no column is recognised as the {role}", f"name it with `{role}: COLUMN` in the domain file")
    return column


def _column(table: Table, role: str, given: str | None) -> str | None:
    """The name that the file gives to a role's column: as given, or recognised; None where it has none."""
    names = list(table.schema)
    if given:
        for name in names:
            if given in (name, TYPES.sub("", name)):
                return name
        _no_column(table, f"no column {given!r}", f"correct `{role}: {given}` in the domain file")
    plain = [re.sub(r"[^a-z0-9]", "", TYPES.sub("", name).lower()) for name in names]
    return next((names[plain.index(alias)] for alias in ALIASES[role] if alias in plain), None)


def _no_column(table: Table, problem: str, remedy: str) -> NoReturn:
    if len(table.schema) == 1:
        remedy += ", or set `separator` if that is several columns in one"
    names = ", ".join(" ".join(name.split()) for name in table.schema)
    raise TransferError(f"{table.path}, line 1: {problem}; its columns are {names}; {remedy}")


def _text(table: Table, column: str) -> pl.Expr:
    kind = table.schema[column]
    if kind == pl.List(pl.String):
        return pl.col(column).list.join("|")
    if kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return pl.col(column).cast(pl.String)
    raise TransferError(f"{table.path}: column {column} holds {kind}; store it as text or as whole numbers")


def _number(table: Table, column: str) -> pl.Expr:
    kind = table.schema[column]
    if kind in (pl.Date, pl.Datetime):
        return pl.col(column).dt.epoch("s").cast(pl.Float64)
    if kind == pl.String:
        return pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    if kind.is_numeric() or kind == pl.Null:
        return pl.col(column).cast(pl.Float64)
    raise TransferError(f"{table.path}: column {column} holds {kind}; store it as numbers")


def _collect(table: Table, wanted: dict[str, pl.Expr]) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read the wanted columns with the index of each `row`; refuse ragged rows, skip and count blank lines."""
    # Polars fills short rows with nulls, and sees long ones only if it parses all columns: hence the two extras.
    short = pl.col(list(table.schema)[-1]).is_null().alias("short")
    whole = pl.QueryOptFlags(projection_pushdown=not table.separator)
    query = table.rows.select(short, **wanted)
    try:
        rows = query.collect(engine="streaming", optimizations=whole).with_row_index("row")
    except PolarsError as error:
        if table.separator:
            _decoded(table.path, table.encoding)
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


def _refuse(table: Table, rows: pl.DataFrame, column: str, bad: pl.Expr, problem: str) -> None:
    """Stop at the first bad row; CELL in `problem` becomes what stands there in the file."""
    wrong = rows.filter(bad)
    if wrong.is_empty():
        return
    row = int(wrong["row"][0])
    place = f"row {row + 1}"
    if table.separator:
        place = next((f"line {line}" for index, (line, _) in enumerate(_lines(table)) if index == row), place)
    cell = table.rows.select(column).slice(row, 1).collect().item()
    shown = "''" if cell is None else repr(cell)
    raise TransferError(f"{table.path}, {place}: {problem.replace('CELL', shown)}")


def _lines(table: Table) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row below the header; slow, for messages and doubtful files only."""
    with table.path.open(encoding=table.encoding, newline="") as file:
        quotes: Literal[0, 3] = csv.QUOTE_NONE if table.path.suffix in UNQUOTED else csv.QUOTE_MINIMAL
        reader = csv.reader(file, delimiter=table.separator, quoting=quotes)
        try:
            while not next(reader):
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
    for index, (line, fields) in enumerate(_lines(table)):
        if not fields:
            blank.append(index)
        elif len(fields) != width:
            problem = f"{len(fields)} fields, the header has {width}; repair or remove the row"
            raise TransferError(f"{table.path}, line {line}: {problem}")
    return blank

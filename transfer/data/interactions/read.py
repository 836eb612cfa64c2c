"""Files -> Domain: RecBole, MovieLens, goodbooks, Book-Crossing, Amazon, Goodreads, any CSV, JSON or Parquet."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from transfer.config.domains import Files
from transfer.config.parts import domain_name
from transfer.data.given import from_memory
from transfer.data.interactions.columns import cell_of, column_of, number_of, required, text_of
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.formats import NUMBER, SEPARATORS, Dialect, ending, to_write
from transfer.data.interactions.places import files_of, no_file
from transfer.data.interactions.table import Table, collect, open_table, refuse
from transfer.data.interactions.times import cells_of, seconds_of
from transfer.data.kept import noted
from transfer.errors import TransferError

ABSENT = ("na", "n/a", "nan", "none", "null", "\\n", "-")  # what people write for no rating
SAID = ("separator", "encoding", "columns", "header", "quoted")  # of how a table of items is written
Chosen = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Scan:
    """The rows of a file that are of any domain, read once: user, item, rating and time (float64) where it has them, `row`,
    and the text of more columns as `in COLUMN`; the column taken for each role; counts of what was converted or skipped."""

    table: Table
    rows: pl.DataFrame
    columns: dict[str, str | None]
    notes: dict[str, int]


def read_domain(files: Files, data_dir: Path, of: str = "domain.target") -> Domain:
    """Read the interactions and the item table of a domain that has all rows of its file, whatever `where` says.

    Args:
        files: paths, column names, declared scale; relative paths are looked up in `data_dir`, then where we are.
        of: the domain's place in the command, for what an error says to write.
    Returns: the domain; events in file order, `notes` counting what was converted or skipped on the way.
    Raises: TransferError, one line with file, line and remedy, at the first fault.
    """
    found = scan(opened(files, data_dir, of), files)
    listed, title = listing(found, files, data_dir)
    return domain_of(found, found.rows, files, files.name or domain_name(found.table.path.stem), listed, title)


def opened(files: Files, data_dir: Path, of: str) -> Table:
    """The file of the interactions, of which the header is read."""
    return open_table(locate(files.path, data_dir, several=True), _dialect(files, of))


def _dialect(files: Files, of: str) -> Dialect:
    return Dialect(files.separator, files.encoding, files.columns, files.header, files.quoted, of, files.path)


def domain_of(found: Scan, rows: pl.DataFrame, files: Files, name: str, listed: pl.DataFrame, title: str | None) -> Domain:
    """A domain of these rows of a scan, and of a table of items. Raises TransferError for ratings beyond its scale."""
    table, rating = found.table, found.columns["rating"]
    for setting in ("positive", "disliked", "scale", "unrated"):
        if getattr(files, setting) not in (None, ()) and not rating:
            required(table, "rating", files.rating, f"`{setting}`")
    if files.scale and rating:
        low, high = files.scale
        problem = f"rating CELL is outside the declared scale [{low:g}, {high:g}]; change `scale` or fix the row"
        refuse(table, rows, rating, ~pl.col("rating").is_between(low, high), problem)
    columns = {**found.columns, "title": title}
    events = rows.select((pl.col(c) if c in rows.columns else pl.lit(None)).cast(t).alias(c) for c, t in EVENTS.items())
    said: Any = {"columns": columns, "files": files, "disliked": files.disliked}
    return Domain(name, events, listed, files.scale, files.positive, found.notes, **said)


def listing(found: Scan, files: Files, data_dir: Path) -> tuple[pl.DataFrame, str | None]:
    """The table of the items of a file, empty where it has none, and the column taken for the title."""
    table = item_table(files, data_dir, found.table.dialect.of)
    if table is None:
        return pl.DataFrame(schema={"item": pl.String, "title": pl.String}), None
    return _items(table, files, found.rows["item"].unique(), table.path != found.table.path)


def item_table(files: Files, data_dir: Path, of: str = "domain.target") -> Table | None:
    """The table with titles: as given, RecBole's X.item beside X.inter, or the interactions if they have titles.

    It is written as the interactions are, where it ends alike and nothing else is said.
    """
    path = locate(files.path, data_dir, several=True)
    sibling, table = path.with_suffix(".item"), files.items
    if table and table.path:
        place = locate(table.path, data_dir, several=True)
    elif path.suffix == ".inter" and noted(sibling).exists():
        place = sibling
    elif files.title:
        return open_table(path, _dialect(files, of))
    else:
        return None
    suffixes = [ending(one).suffix for one in (place, path)]
    alike = len({SEPARATORS.get(suffix, suffix) for suffix in suffixes}) == 1
    how = Dialect(files.separator if alike else None, files.encoding, of=f"{of}.items", name=place.name)
    if place == path:
        how = replace(how, columns=files.columns, header=files.header)
    said = {key: value for key in SAID if table and (value := getattr(table, key)) not in (None, ())}
    return open_table(place, replace(how, **said))


def ids_of(table: Table, files: Files) -> str:
    """The column of an item table with the items' ids."""
    named = files.items.item if files.items else None
    return files.item if files.item in table.schema and not named else required(table, "item", named)


def locate(name: str, data_dir: Path, several: bool = False) -> Path:
    """The existing file that `name` means: absolute, in `data_dir`, or relative to the current directory; several: or a
    folder of Parquet files, or a pattern of names (ratings-*.csv) that a file has."""
    if name == "???":
        raise TransferError("a domain's file is not given: write domain.target=FILE and domain.source=FILE")
    if from_memory(name) is not None:
        return Path(name)
    places = [Path(name)] if Path(name).is_absolute() else [data_dir / name, Path(name)]
    for place in places:
        if noted(place).is_file() or (several and (place.is_dir() or files_of(place))):
            return place
    raise no_file(places)


def scan(
    table: Table,
    files: Files,
    keys: Sequence[str] = (),
    of_domains: Chosen = lambda rows: rows,
) -> Scan:
    """Read, check and convert the columns of EVENTS in the rows `of_domains`, which has the text of every `in KEY`."""
    user, item = required(table, "user", files.user), required(table, "item", files.item)
    rating, time = column_of(table, "rating", files.rating), column_of(table, "time", files.time)
    if files.time_format and not time:
        required(table, "time", files.time, "`time_format`")
    wanted = {"user": text_of(table, user), "item": text_of(table, item)}
    if rating:
        wanted |= {"rating": number_of(table, rating), "unrated": _is_unrated(table, rating, files.unrated)}
    if time:
        wanted["time"] = cells_of(table, time)
    rows, notes = collect(table, wanted | {f"in {key}": cell_of(table, key) for key in keys})
    rows = of_domains(rows)

    fix = "correct or remove the row"
    if files.without_user == "skip" and (count := rows.select(_blank("user").sum()).item()):
        rows, notes = rows.filter(~_blank("user")), notes | {"rows_without_user": count}
        if rows.is_empty():
            raise TransferError(
                f"{table.path}: all {count:,} rows are without a user in the column {user}; name another one"
            )
    skip = f"; to leave such rows out, {to_write(table.dialect, without_user='skip')}"
    for name, column, more in (("user", user, skip), ("item", item, "")):
        refuse(table, rows, column, _blank(name), f"empty {name} id; {fix}{more}")
    if rating:
        if rows["unrated"].any():
            notes = notes | {"unrated": int(rows["unrated"].sum())}
            rows = rows.with_columns(rating=pl.when(~pl.col("unrated")).then("rating"))
        finite = pl.col("unrated") | pl.col("rating").cast(pl.Float32).is_finite().fill_null(False)
        refuse(
            table,
            rows,
            rating,
            ~finite,
            f"rating CELL is not a finite number; {fix}{_or_unrated(table, rows, rating, ~finite)}",
        )
    if time:
        seconds, of_units = seconds_of(rows["time"], files.time_format)
        rows, notes = rows.with_columns(time=seconds), notes | of_units
        as_told = f"written as `time_format: {files.time_format}` says"
        usual = "a number of seconds (milliseconds, ...) since 1970, or in all rows a date such as 2015-06-14 or 20150614"
        problem = f"time CELL is not {as_told if files.time_format else usual}; {fix}, or set `time_format`"
        refuse(table, rows, time, pl.col("time").is_null(), problem)
    return Scan(table, rows, {"user": user, "item": item, "rating": rating, "time": time}, notes)


def _items(table: Table, files: Files, known: pl.Series, apart: bool) -> tuple[pl.DataFrame, str | None]:
    """One row per item: id, title (null where empty) and what else is recognised; and the column taken for the title.

    known: ids of the items with events; in a table `apart` from the events some of them must be found, by one column only.
    """
    item = ids_of(table, files)
    wanted = {"item": text_of(table, item)}
    for name, given in (("title", files.title), ("author", None), ("genres", None)):
        if column := column_of(table, name, given):
            wanted[name] = text_of(table, column)
    if year := column_of(table, "year", None):
        wanted["year"] = number_of(table, year)
    rows, _ = collect(table, wanted)
    refuse(table, rows, item, _blank("item"), "empty item id; correct or remove the row")
    if apart:
        _check_ids(table, item, known, bool(files.items and files.items.item))
    rows = rows.drop("row").unique("item", keep="first", maintain_order=True)
    words = [name for name in ("title", "author", "genres") if name in wanted]
    rows = rows.with_columns(pl.Series(name, [_clean_text(text) for text in rows[name]], pl.String) for name in words)
    if year:  # 0 is how some tables write "unknown"
        number = pl.col("year").cast(pl.Int32, strict=False)
        rows = rows.with_columns(year=pl.when(number != 0).then(number))
    if "title" not in wanted:
        rows = rows.with_columns(title=pl.lit(None, pl.String))
    rows = rows.select("item", "title", *(name for name in ("author", "year", "genres") if name in wanted))
    return rows, column_of(table, "title", files.title)


def _check_ids(table: Table, item: str, known: pl.Series, named: bool) -> None:
    """Raise TransferError where a table of items knows none of them, or two of its columns could be their ids."""
    texts = [name for name, kind in table.schema.items() if kind.is_integer() or kind == pl.String]
    names = [item] if named else list(dict.fromkeys([item, *texts]))
    cells = table.rows.select(text_of(table, name).alias(name) for name in names).collect()
    found = {name: known.is_in(cells[name].implode()).sum() for name in names}
    remedy = f"write items: {{path: {table.path.name}, item: COLUMN}}; its columns are {', '.join(table.schema)}"
    if not found[item]:
        raise TransferError(f"{table.path}: column {item} has none of the {len(known):,} items with events; {remedy}")
    for name, count in found.items():
        if count >= found[item] and not cells[name].equals(cells[item]) and cells[name].is_unique().all():
            problem = (
                f"both {item} and {name} could be the items' ids ({found[item]:,} and {count:,} of {len(known):,} match)"
            )
            raise TransferError(f"{table.path}: {problem}; {remedy}")


def _clean_text(text: str | None) -> str | None:
    return html.unescape(text).strip() or None if text else None


def _is_unrated(table: Table, column: str, values: Sequence[str]) -> pl.Expr:
    """Whether a cell is one of the values that stand for "not rated": numbers by their value, texts as they are."""
    text = pl.col(column).cast(pl.String).fill_null("").str.strip_chars()
    numbers = [float(value) for value in values if NUMBER.fullmatch(value)]
    return text.is_in(list(values)) | number_of(table, column).is_in(numbers).fill_null(False)


def _or_unrated(table: Table, rows: pl.DataFrame, rating: str, bad: pl.Expr) -> str:
    """What else to do about a first bad rating: an empty one may be none; the first line may be a header."""
    first = rows.filter(bad)["row"].head(1).to_list()
    if not first:
        return ""
    cell = table.rows.select(pl.col(rating).cast(pl.String)).slice(first[0], 1).collect().item() or ""
    if first[0] == 0 and table.is_text and not table.dialect.has_header:
        return f"; if its first line is a header, {to_write(table.dialect, header=True)}"
    if not cell.strip() or cell.strip().lower() in ABSENT:
        return f"; if it means that nobody rated, {to_write(table.dialect, unrated=cell.strip())}"
    return ""


def _blank(name: str) -> pl.Expr:
    return pl.col(name).fill_null("").str.strip_chars() == ""

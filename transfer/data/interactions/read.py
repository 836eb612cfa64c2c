"""Files -> Domain: RecBole atomic files, MovieLens, goodbooks, Book-Crossing, any other CSV, TSV or Parquet."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from transfer.config.domains import Files
from transfer.config.parts import domain_name
from transfer.data.interactions.columns import cell_of, column_of, number_of, required, text_of
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.table import SEPARATORS, Table, collect, open_table, refuse
from transfer.data.interactions.times import cells_of, seconds_of
from transfer.data.kept import noted
from transfer.errors import TransferError

Chosen = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Scan:
    """The rows of a file that are of any domain, read once: user, item, rating and time (float64) where it has them, `row`,
    and the text of more columns as `in COLUMN`; the column taken for each role; counts of what was converted or skipped."""

    table: Table
    rows: pl.DataFrame
    columns: dict[str, str | None]
    notes: dict[str, int]


def read_domain(files: Files, data_dir: Path) -> Domain:
    """Read the interactions and the item table of a domain that has all rows of its file, whatever `where` says.

    Args:
        files: paths, column names, declared scale; relative paths are looked up in `data_dir`, then where we are.
    Returns: the domain; events in file order, `notes` counting what was converted or skipped on the way.
    Raises: TransferError, one line with file, line and remedy, at the first fault.
    """
    found = scan(opened(files, data_dir), files)
    listed, title = listing(found, files, data_dir)
    return domain_of(found, found.rows, files, files.name or domain_name(found.table.path.stem), listed, title)


def opened(files: Files, data_dir: Path) -> Table:
    """The file of the interactions, of which the header is read."""
    return open_table(locate(files.path, data_dir), files.separator, files.encoding, files.columns)


def domain_of(found: Scan, rows: pl.DataFrame, files: Files, name: str, listed: pl.DataFrame, title: str | None) -> Domain:
    """A domain of these rows of a scan, and of a table of items. Raises TransferError for ratings beyond its scale."""
    table, rating = found.table, found.columns["rating"]
    for setting in ("positive", "scale"):
        if getattr(files, setting) is not None and not rating:
            required(table, "rating", files.rating, f"`{setting}`")
    if files.scale and rating:
        low, high = files.scale
        problem = f"rating CELL is outside the declared scale [{low:g}, {high:g}]; change `scale` or fix the row"
        refuse(table, rows, rating, ~pl.col("rating").is_between(low, high), problem)
    columns = {**found.columns, "title": title}
    events = rows.select((pl.col(c) if c in rows.columns else pl.lit(None)).cast(t).alias(c) for c, t in EVENTS.items())
    return Domain(name, events, listed, files.scale, files.positive, found.notes, columns=columns, files=files)


def listing(found: Scan, files: Files, data_dir: Path) -> tuple[pl.DataFrame, str | None]:
    """The table of the items of a file, empty where it has none, and the column taken for the title."""
    table = item_table(files, data_dir)
    if table is None:
        return pl.DataFrame(schema={"item": pl.String, "title": pl.String}), None
    return _items(table, files, found.rows["item"].unique(), table.path != found.table.path)


def item_table(files: Files, data_dir: Path) -> Table | None:
    """The table with titles: as given, RecBole's X.item beside X.inter, or the interactions if they have titles."""
    path = locate(files.path, data_dir)
    sibling = path.with_suffix(".item")
    if files.items and files.items.path:
        place = locate(files.items.path, data_dir)
    elif path.suffix == ".inter" and noted(sibling).exists():
        place = sibling
    elif files.title:
        place = path
    else:
        return None
    alike = SEPARATORS.get(place.suffix) == SEPARATORS.get(path.suffix)
    return open_table(place, files.separator if alike else None, files.encoding, files.columns if place == path else ())


def ids_of(table: Table, files: Files) -> str:
    """The column of an item table with the items' ids."""
    named = files.items.item if files.items else None
    return files.item if files.item in table.schema and not named else required(table, "item", named)


def locate(name: str, data_dir: Path) -> Path:
    """The existing file that `name` means: absolute, in `data_dir`, or relative to the current directory."""
    if name == "???":
        raise TransferError("a domain's file is not given: write domain.target=FILE and domain.source=FILE")
    places = [Path(name)] if Path(name).is_absolute() else [data_dir / name, Path(name)]
    for place in places:
        if noted(place).is_file():
            return place
    tried = " or ".join(dict.fromkeys(str(place.absolute()) for place in places))  # they are one where data_dir is here
    raise TransferError(f"no file {tried}; correct the path, or set data_dir=... or TRANSFER_DATA")


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
        wanted["rating"] = number_of(table, rating)
    if time:
        wanted["time"] = cells_of(table, time)
    rows, notes = collect(table, wanted | {f"in {key}": cell_of(table, key) for key in keys})
    rows = of_domains(rows)

    fix = "correct or remove the row"
    for name, column in (("user", user), ("item", item)):
        refuse(table, rows, column, _blank(name), f"empty {name} id; {fix}")
    if rating:
        finite = pl.col("rating").cast(pl.Float32).is_finite().fill_null(False)
        refuse(table, rows, rating, ~finite, f"rating CELL is not a finite number; {fix}")
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


def _blank(name: str) -> pl.Expr:
    return pl.col(name).fill_null("").str.strip_chars() == ""

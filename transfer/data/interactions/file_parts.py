"""Files -> domains: a file is read once, however many domains are parts of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl

from transfer.config.domains import Files
from transfer.config.parts import domain_name, said
from transfer.data.interactions.columns import as_cell, named
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.read import Scan, domain_of, listing, locate, opened, refuse, scan
from transfer.data.interactions.table import Table
from transfer.errors import TransferError, nearest

# Where a domain stands in a command.
TARGET, SOURCE, SOURCES = "domain.target", "domain.source", "the list domain.source"
MOST = 300  # domains that one column makes: a column of users or titles would make more
SHOWN = 40  # values of a column in an error
Cells = dict[str, list[str]]  # the rows that have, in each of these columns, one of these texts


def read_domains(
    target: Files, sources: Sequence[Files], data_dir: Path, place: str = TARGET
) -> tuple[Domain, list[Domain]]:
    """The domains of these files; an `each` among them makes one of every value, in the order of the values.

    What `each` makes of the target's file has no row of the target, and no value that the target's `where` names there.
    place: where the target stands in the command.
    Raises TransferError, one line, for faults of a file, and for a column or a value that it does not have.
    """
    sharing: dict[Files, list[Files]] = {}
    for files in (target, *sources):
        sharing.setdefault(_as_read(files), []).append(files)
    places = {_as_read(files): SOURCE if len(sources) == 1 else SOURCES for files in sources} | {_as_read(target): place}
    scans = {key: _Parts(_scan(alike, target, data_dir, places[key])) for key, alike in sharing.items()}
    tables: dict[Files, tuple[pl.DataFrame, str | None]] = {}

    def domain(files: Files, rows: pl.DataFrame, name: str) -> Domain:
        found, shown = scans[_as_read(files)].found, files.model_copy(update={"name": "", "where": (), "each": None})
        if shown not in tables:
            tables[shown] = listing(found, files, data_dir)
        listed, title = tables[shown]
        if files.where:
            listed = listed.join(rows.select("item").unique(), on="item", how="semi", maintain_order="left")
        return domain_of(found, rows, files, name, listed, title)

    def of(files: Files) -> list[Domain]:
        parts = scans[_as_read(files)]
        path = parts.found.table.path
        if files.each is None:
            values = " ".join(" + ".join(values) for _, values in files.where)
            return [domain(files, parts.rows(files), files.name or domain_name(values or path.stem))]
        apart = target if path == locate(target.path, data_dir, several=True) else None
        return [
            domain(_with_value(files, value), rows, domain_name(f"{files.name} {value}"))
            for value, rows in _every_value(parts, files, files.each, apart)
        ]

    return of(target)[0], [one for files in sources for one in of(files)]


@dataclass(frozen=True)
class _Parts:
    """A scan, divided once by each column that tells domains apart: the work does not grow with the number of domains."""

    found: Scan
    divided: dict[str, dict[str | None, pl.DataFrame]] = field(default_factory=dict)

    def rows(self, files: Files) -> pl.DataFrame:
        """The rows that `where` takes, all without one. Raises TransferError where no row has all that it asks."""
        if not files.where:
            return self.found.rows
        (column, cells), *others = _cells(self.found.table, files).items()
        by_value = self._by_value(column)
        taken = [by_value[cell] for cell in cells if cell in by_value]
        rows = pl.concat(taken).sort("row") if taken else self.found.rows.clear()
        if others:
            rows = rows.filter(_within(dict(others)))
        if rows.is_empty():
            raise TransferError(f"{self.found.table.path}: no row has {said(files.where)} at once; correct `where`")
        return rows

    def _by_value(self, column: str) -> dict[str | None, pl.DataFrame]:
        if column not in self.divided:
            self.divided[column] = _partition(self.found.rows, column)
        return self.divided[column]


def _partition(rows: pl.DataFrame, column: str) -> dict[str | None, pl.DataFrame]:
    """The rows by what stands in a column, in their order."""
    parts = rows.partition_by(f"in {column}", as_dict=True, maintain_order=True)
    return {key[0]: part for key, part in parts.items()}


def _as_read(files: Files) -> Files:
    """The settings that say how rows are read: domains that have them in common share a scan."""
    free: dict[str, Any] = {"name": "", "where": (), "each": None, "items": None, "title": None}
    return files.model_copy(update=free | {"scale": None, "positive": None, "texts": ()})


def _with_value(files: Files, value: str) -> Files:
    """The part of an `each` that has this value."""
    where = {**dict(files.where), str(files.each): (value,)}
    return files.model_copy(update={"where": tuple(where.items()), "each": None})


def _scan(alike: Sequence[Files], target: Files, data_dir: Path, of: str) -> Scan:
    """Read the rows of the domains that share a file; rows of no domain may have faults."""
    table = opened(alike[0], data_dir, of)
    wheres = [_cells(table, files) for files in alike]
    keys = [column for where in wheres for column in where]
    keys += [named(table, files.each, f"each: {files.each}") for files in alike if files.each is not None]
    if any(files.each is not None for files in alike) and table.path == locate(target.path, data_dir, several=True):
        keys += _cells(table, target)

    def of_domains(rows: pl.DataFrame) -> pl.DataFrame:
        columns = {column for where in wheres for column in where}
        there = {column: rows[f"in {column}"].unique().drop_nulls() for column in columns}
        for where in wheres:
            _refuse_unknown(table, where, there)
        return rows.filter(_any_of(wheres)) if all(wheres) else rows

    return scan(table, alike[0], list(dict.fromkeys(keys)), of_domains)


def _cells(table: Table, files: Files) -> Cells:
    """What `where` says, by the columns and in the texts of this file."""
    cells: Cells = {}
    for given, values in files.where:
        column = named(table, given, f"where: {{{given}: …}}")
        cells[column] = [as_cell(table, column, value) for value in values]
    return cells


def _within(where: Cells) -> pl.Expr:
    """Whether a row is one of these."""
    return pl.all_horizontal(pl.col(f"in {column}").is_in(cells).fill_null(False) for column, cells in where.items())


def _any_of(wheres: Sequence[Cells]) -> pl.Expr:
    """Whether a row is of any of these; what one column alone decides is looked up once."""
    alone: Cells = {}
    for where in wheres:
        if len(where) == 1:
            for column, cells in where.items():
                alone.setdefault(column, []).extend(cells)
    each = [{column: cells} for column, cells in alone.items()] + [where for where in wheres if len(where) > 1]
    return pl.any_horizontal(_within(where) for where in each)


def _refuse_unknown(table: Table, where: Cells, there: Mapping[str, pl.Series]) -> None:
    """Raise TransferError for a value that no row has, naming those that there are."""
    for column, cells in where.items():
        known = there[column]
        for cell in cells:
            if cell not in known:
                values = known.sort().to_list()
                more = f" … ({len(values):,} values)" if len(values) > SHOWN else ""
                raise TransferError(
                    f"{table.path}: no row has {column} {cell!r}{nearest(cell, values) or ';'} "
                    f"it has {', '.join(values[:SHOWN])}{more}"
                )


def _every_value(parts: _Parts, files: Files, each: str, target: Files | None) -> list[tuple[str, pl.DataFrame]]:
    """The rows by their value in the column `each`, without those of a target that is another part of the file."""
    found, rows = parts.found, parts.rows(files)
    column = named(found.table, each, f"each: {each}")
    key = f"in {column}"
    if target is not None:
        rows = _without(rows, _cells(found.table, target), key)
        if rows.is_empty():
            raise TransferError(
                f"{found.table.path}: the target leaves no row to `each: {each}`; say which part of the file it is, "
                f"as in domain.target.where={{{each}: VALUE}}"
            )
    values = rows[key].unique()
    if len(values) > MOST:
        raise TransferError(
            f"{found.table.path}: `each: {each}` would make {len(values):,} domains; name a column of at most {MOST} values"
        )
    nameless = pl.Series([value for value in values if not domain_name(value or "")], dtype=pl.String)
    bad = pl.col(key).is_in(nameless.implode(), nulls_equal=True)
    remedy = f"fill it in, remove the row, or name the values with where: {{{each}: [VALUE, VALUE]}}"
    refuse(found.table, rows, column, bad, f"`each: {each}` makes a domain of every value, and CELL is no name; {remedy}")
    return sorted(((str(value), part) for value, part in _partition(rows, column).items()), key=itemgetter(0))


def _without(rows: pl.DataFrame, target: Cells, key: str) -> pl.DataFrame:
    """The rows that are not the target's, and have none of its values in the column `key`."""
    if not target:
        return rows.clear()
    values = target.get(key.removeprefix("in "), [])
    return rows.filter(~_within(target) & ~pl.col(key).is_in(values).fill_null(False))

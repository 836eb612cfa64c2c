"""Files -> a log of impressions, read as strictly as interactions are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from transfer.config.logs import LogFile
from transfer.config.parts import domain_name
from transfer.data.interactions.columns import cell_of, column_of, number_of, required, text_of
from transfer.data.interactions.formats import Dialect
from transfer.data.interactions.read import locate
from transfer.data.interactions.table import Table, collect, open_table, refuse
from transfer.errors import TransferError

TEXTS = ("user", "item", "slate")
NAMES = ("arm", "group")  # what figures are told by
YES_OR_NO = ("click", "purchase", "feedback")  # 1 or 0; feedback may be empty: none was given
NUMBERS = ("position", "propensity", "price", *YES_OR_NO)
SCHEMA = {
    **dict.fromkeys((*TEXTS, *NAMES), pl.String),
    "position": pl.Int64,
    **dict.fromkeys(("propensity", "price"), pl.Float64),
    **dict.fromkeys(YES_OR_NO, pl.Int8),
}


@dataclass(frozen=True)
class Log:
    """The impressions of one or several arms.

    rows: one per impression, with the columns of SCHEMA that the files have: `click` and `purchase` 0 or 1, `feedback` 0, 1
    or null, `price` of what was bought (null where nothing was), `propensity` in (0, 1], `position` a whole number.
    columns: what the file calls each of them. notes: what was skipped on the way.
    """

    name: str
    rows: pl.DataFrame
    columns: dict[str, str]
    notes: dict[str, int]


def read_log(files: LogFile, data_dir: Path, of: str = "transfer evaluate-log") -> Log:
    """Read one log; a relative path is looked up in `data_dir`, then where we are.

    of: the log's place in the command, for what an error says to write.
    Raises TransferError, one line with file, line and remedy, at the first fault, and where nothing says what came of an
    impression.
    """
    path = locate(files.path, data_dir, several=True)
    how = Dialect(files.separator, files.encoding, files.columns, files.header, files.quoted, of, files.path)
    table = open_table(path, how)
    columns = {role: column for role in SCHEMA if (column := column_of(table, role, getattr(files, role)))}
    if not set(columns) & set(YES_OR_NO):
        required(table, "click", files.click)
    if "price" in columns:
        required(table, "purchase", files.purchase, "the price")
    rows, notes = collect(table, {role: _cells(table, role, column) for role, column in columns.items()})
    for role, column in columns.items():
        _check(table, rows, role, column)
    name = files.name or domain_name(path.stem)
    typed = rows.select(pl.col(role).cast(SCHEMA[role]) for role in columns)
    if "arm" not in columns:
        typed = typed.with_columns(arm=pl.lit(name))
    return Log(name, typed, columns, notes)


def _cells(table: Table, role: str, column: str) -> pl.Expr:
    if role in NAMES:
        return cell_of(table, column)
    if role in TEXTS:
        return text_of(table, column)
    return pl.col(column).cast(pl.Float64) if table.schema[column] == pl.Boolean else number_of(table, column)


def _check(table: Table, rows: pl.DataFrame, role: str, column: str) -> None:
    """Raise TransferError at the first cell that its role does not allow."""
    cell, fix = pl.col(role), "correct or remove the row"
    text = table.rows.select(pl.col(column).cast(pl.String).fill_null("").str.strip_chars()).collect().to_series()
    rows, empty = rows.with_columns(empty=text.gather(rows["row"]) == ""), pl.col("empty")
    if role in (*TEXTS, *NAMES):
        refuse(table, rows, column, empty, f"empty {role}; {fix}")
    elif role in YES_OR_NO:
        allowed = cell.is_in([0.0, 1.0]).fill_null(False)
        also = " or empty" if role == "feedback" else ""
        refuse(table, rows, column, ~(allowed | (empty & bool(also))), f"{role} CELL is not 0 or 1{also}; {fix}")
    elif role == "propensity":
        allowed = (cell > 0) & (cell <= 1)
        problem = f"propensity CELL is not above 0 and at most 1; the chance of what was shown is needed: {fix}"
        refuse(table, rows, column, ~allowed.fill_null(False), problem)
    elif role == "position":
        allowed = (cell == cell.round()) & (cell.abs() < 2**31)
        refuse(table, rows, column, ~allowed.fill_null(False), f"position CELL is not a whole number; {fix}")
    elif role == "price":
        allowed = cell.is_finite() & (cell >= 0)
        bought = pl.col("purchase") == 1
        refuse(table, rows, column, ~empty & ~allowed.fill_null(False), f"price CELL is not a number of 0 or more; {fix}")
        refuse(table, rows, column, empty & bought, f"a purchase without a price; {fix}")


def together(logs: list[Log]) -> Log:
    """Several logs as one, an arm each or those of their columns. Raises TransferError for two of one name."""
    if len(logs) == 1:
        return logs[0]
    alone = [log.name for log in logs if "arm" not in log.columns]
    if twice := [name for name in alone if alone.count(name) > 1]:
        raise TransferError(f"two logs are called {twice[0]}; give each a name: '{{path: FILE, name: NAME}}'")
    rows = pl.concat([log.rows for log in logs], how="diagonal")
    columns = {role: column for log in logs for role, column in log.columns.items()}
    notes: dict[str, int] = {}
    for note, count in (pair for log in logs for pair in log.notes.items()):
        notes[note] = notes.get(note, 0) + count
    return Log(" + ".join(log.name for log in logs), rows, columns, notes)

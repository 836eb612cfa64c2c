"""Candidates by reader: a table of who may be shown what, such as the lists of a search or the stock of a shop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from transfer.data.interactions.events import Coded, Room
from transfer.data.kept import noted
from transfer.errors import TransferError, nearest
from transfer.storage.damaged import POLARS

COLUMNS = ["user", "item"]
SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}


def is_table(path: Path) -> bool:
    """Whether a file has a list for each reader: Parquet, or a first line that names user and item."""
    if path.suffix == ".parquet":
        return True
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline().lstrip("\ufeff").strip()
    return set(COLUMNS) <= set(first.split(SEPARATORS.get(path.suffix, ",")))


def read_candidates(path: Path) -> pl.DataFrame:
    """user, item: text, in the order of the file. Raises TransferError, with the line, for an empty cell, a pair that is
    there twice, another header, and what cannot be read."""
    if path.suffix not in (".parquet", *SEPARATORS):
        raise TransferError(f"{path}: candidates are a .csv, .tsv or .parquet table with columns user and item")
    try:
        if noted(path).suffix == ".parquet":
            table = pl.read_parquet(path)
        else:
            table = pl.read_csv(path, separator=SEPARATORS[path.suffix], infer_schema=False)
    except (*POLARS, OSError) as error:
        raise TransferError(f"{path}: not readable as candidates ({str(error).splitlines()[0]})") from None
    for name in COLUMNS:
        if name not in table.columns:
            there = ", ".join(table.columns)
            raise TransferError(f"{path}: no column {name}{nearest(name, table.columns) or ';'} there are {there}")
    table = table.select(pl.col(COLUMNS).cast(pl.String)).with_row_index("line", offset=2)
    if not len(table):
        raise TransferError(f"{path}: no candidates in it; write a row for each, user and item")
    for name in COLUMNS:
        if len(empty := table.filter(pl.col(name).is_null() | (pl.col(name) == ""))):
            raise TransferError(f"{path}, row {empty['line'][0]}: no {name}; write one or remove the row")
    if len(twice := table.filter(pl.struct(COLUMNS).is_duplicated() & ~pl.struct(COLUMNS).is_first_distinct())):
        line, user, item = twice.row(0)
        raise TransferError(f"{path}, row {line}: user {user} has item {item} twice; keep one of the rows")
    return table.select(COLUMNS)


def listed(
    named: str,
    candidates: pl.DataFrame,
    hidden: dict[str, pl.DataFrame],
    known: pl.Series,
    users: pl.Series,
    items: pl.Series,
    room: Room | None,
) -> dict[str, Coded]:
    """The candidates of each reader as events, by hidden part; see `of_hidden`."""
    if room:
        raise TransferError(f"split.candidates beside domain.capacity={room.events}: lists have no room there; write null")
    index = {
        name: dict(zip(ids.cast(pl.String), range(len(ids)), strict=True))
        for name, ids in (("user", users), ("item", items))
    }
    return {
        part: {name: of[name].replace_strict(of_ids, return_dtype=pl.Int32).to_numpy() for name, of_ids in index.items()}
        | {"rating": np.zeros(len(of), np.float32)}
        for part, of in of_hidden(candidates, hidden, known, items, named).items()
    }


def of_hidden(
    candidates: pl.DataFrame, hidden: dict[str, pl.DataFrame], known: pl.Series, items: pl.Series, named: str
) -> dict[str, pl.DataFrame]:
    """The candidates of those who are asked, by hidden part; items that nothing is known of from training are left out.

    known: the ids of the target's items; items: of those that are ranked; named: the file, in messages. Raises
    TransferError where somebody is asked who has none, where a hidden item is none of its reader's, and for an item that
    the target lacks.
    """
    strange = candidates.filter(~pl.col("item").is_in(known.cast(pl.String).implode()))
    if len(strange):
        raise TransferError(
            f"{named}: the target has no item {strange['item'][0]} ({len(strange):,} such rows); remove them"
        )
    ranked = candidates.filter(pl.col("item").is_in(items.cast(pl.String).implode()))
    found = {}
    for part, events in hidden.items():
        asked = events.select(pl.col(COLUMNS).cast(pl.String))
        without = asked.join(ranked, on="user", how="anti")
        if len(without):
            raise TransferError(
                f"{named}: user {without['user'][0]} is asked in the {part} part and has no candidates "
                f"({without['user'].n_unique():,} of {asked['user'].n_unique():,} such users)"
            )
        missed = asked.join(ranked, on=COLUMNS, how="anti")
        if len(missed):
            user, item = missed.row(0)
            raise TransferError(
                f"{named}: user {user} has chosen {item} in the {part} part, which is none of her candidates "
                f"({len(missed):,} of {len(asked):,} hidden events are none); a list must hold what it is judged by"
            )
        found[part] = ranked.join(asked.select("user").unique(), on="user", how="semi")
    return found

"""Policies as tables of chances over the items of a log: a trained run, what another log did, or all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transfer.data.logs.read import Log
from transfer.data.logs.simulate import softmax
from transfer.errors import TransferError
from transfer.results.predictor import Predictor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contexts:
    """In what contexts a log shows its items: `table`, a row per context with its user and position where the log has them,
    `of` [n], the context of every impression, and `items`, the candidates."""

    table: pl.DataFrame
    of: NDArray[np.int64]
    items: tuple[str, ...]

    @property
    def place(self) -> dict[str, int]:
        """Where each candidate stands in the tables of policies."""
        return {item: place for place, item in enumerate(self.items)}


@dataclass(frozen=True)
class Policy:
    """Chances [contexts, items] of a policy, its name, and the temperature of a run."""

    name: str
    table: Floats
    temperature: float | None = None


def contexts_of(log: Log, roles: Sequence[str], candidates: Sequence[str] | None = None) -> Contexts:
    """The contexts of a log by these of its columns; candidates: all items that it shows, if no others are given."""
    of, table = numbered(log.rows, [role for role in roles if role in log.rows.columns])
    shown = log.rows["item"].unique().sort().to_list()
    return Contexts(table, of, tuple(shown if candidates is None else dict.fromkeys([*candidates, *shown])))


def numbered(rows: pl.DataFrame, columns: Sequence[str]) -> tuple[NDArray[np.int64], pl.DataFrame]:
    """Which of the distinct rows of these columns every row is, and the distinct rows."""
    if not columns:
        return np.zeros(len(rows), np.int64), pl.DataFrame({"all": [""]})
    table = rows.select(columns).unique().sort(columns)
    place = rows.select(columns).join(table.with_row_index("place"), on=list(columns), how="left", maintain_order="left")
    return place["place"].cast(pl.Int64).to_numpy(), table


def uniform(contexts: Contexts, candidates: Sequence[str] | None = None) -> Policy:
    """All candidates alike."""
    open_to = np.isin(contexts.items, list(contexts.items if candidates is None else candidates))
    return Policy("uniform", np.tile(open_to / open_to.sum(), (len(contexts.table), 1)))


def of_log(contexts: Contexts, other: Log) -> Policy:
    """What another log did: how often it showed each item at each position. Raises TransferError where that log has no
    impression at a position of this one."""
    by_position = "position" in contexts.table and "position" in other.rows.columns
    columns = ["position"] if by_position else []
    of, table = numbered(other.rows, columns)
    items = other.rows["item"].unique().sort().to_list()
    if strange := sorted(set(items) - set(contexts.items)):
        raise TransferError(
            f"{other.name}: it shows {len(strange):,} items that the log never does, such as {strange[0]}: nothing is "
            "known of what comes of them"
        )
    place = other.rows["item"].replace_strict(contexts.place, return_dtype=pl.Int64).to_numpy()
    counts = np.zeros((len(table), len(contexts.items)))
    np.add.at(counts, (of, place), 1.0)
    chances = counts / counts.sum(1, keepdims=True)
    if not by_position:
        return Policy(other.name, np.broadcast_to(chances, (len(contexts.table), len(contexts.items))))
    row = {position: at for at, position in enumerate(table["position"])}
    if missing := [position for position in contexts.table["position"] if position not in row]:
        raise TransferError(f"{other.name}: it has no impression at position {missing[0]}, which the log has")
    return Policy(other.name, chances[[row[position] for position in contexts.table["position"]]])


def of_run(
    contexts: Contexts, predictor: Predictor, name: str, temperature: float | None, candidates: Sequence[str] | None = None
) -> Policy:
    """A trained run: π(a | u) ∝ exp(s(u, a) / T) over the candidates that it knows, alike at every position.

    temperature: T in units of the scores; None: their standard deviation over the candidates, averaged over readers.
    candidates: None: all items of the log.
    Raises TransferError where it knows no candidate.
    """
    known = set(predictor.loaded.items)
    open_to = set(contexts.items if candidates is None else candidates) & known
    columns = [place for place, item in enumerate(contexts.items) if item in open_to]
    if len(columns) < 2:
        raise TransferError(f"{name}: of the {len(contexts.items):,} items of the log it knows {len(columns)}")
    users = contexts.table["user"]
    scores = predictor.score(users.unique().sort().to_list(), [contexts.items[place] for place in columns])
    spread = float(scores.astype(np.float64).std(1).mean())
    heat = temperature if temperature is not None else spread
    if not heat > 0:
        raise TransferError(f"{name}: its scores do not tell the candidates apart; give a temperature above 0")
    table = np.zeros((len(users), len(contexts.items)))
    table[:, columns] = softmax(scores.astype(np.float64), heat)[numbered(users.to_frame(), ["user"])[0]]
    return Policy(name, table, heat)


def known_readers(log: Log, predictor: Predictor, name: str) -> tuple[Log, int]:
    """The impressions of readers whom a run knows, and how many others there are. Raises TransferError for none."""
    if "user" not in log.rows.columns:
        raise TransferError(f"{log.name}: no column is recognised as the user, whom {name} needs; name it: user=COLUMN")
    rows = log.rows.filter(pl.col("user").is_in(predictor.loaded.users))
    if rows.is_empty():
        example: Any = log.rows["user"][0]
        raise TransferError(
            f"{log.name}: {name} knows none of its {log.rows['user'].n_unique():,} readers, such as {example}"
        )
    return Log(log.name, rows, log.columns, log.notes), len(log.rows) - len(rows)

"""A domain as read: string ids, one row per event, an item table. Host side; no JAX here."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from transfer.config.domains import Files

EVENTS = {"user": pl.String, "item": pl.String, "rating": pl.Float32, "time": pl.Float64}


@dataclass(frozen=True)
class Domain:
    """Events (user, item, rating, time: the last two null where unknown) and items (item, title, ...).

    `time` counts seconds since 1970. `scale` is the declared range of ratings, `positive` the rating from which an event
    counts as liked (null: all do). `others`, once the likes are taken, holds the events that are none. `columns` says which
    column of the file was taken for what (null: none), `files` how it was read.
    """

    name: str
    events: pl.DataFrame
    items: pl.DataFrame
    scale: tuple[float, float] | None = None
    positive: float | None = None
    notes: dict[str, int] = field(default_factory=dict)
    others: pl.DataFrame | None = None
    columns: dict[str, str | None] = field(default_factory=dict)
    files: Files | None = None

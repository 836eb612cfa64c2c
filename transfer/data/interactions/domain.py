"""A domain as read: string ids, one row per event, an item table. Host side; no JAX here."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

EVENTS = {"user": pl.String, "item": pl.String, "rating": pl.Float32, "time": pl.Int64}


@dataclass(frozen=True)
class Domain:
    """Events (user, item, rating, time: the last two null where unknown) and items (item, title, ...).

    `scale` is the declared range of ratings, `positive` the rating from which an event counts as liked (null: all do).
    """

    name: str
    events: pl.DataFrame
    items: pl.DataFrame
    scale: tuple[float, float] | None = None
    positive: float | None = None
    notes: dict[str, int] = field(default_factory=dict)

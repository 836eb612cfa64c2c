"""A domain as read: string ids, one row per event, an item table. Host side; no JAX here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
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


def with_numbered_ids(domains: list[Domain]) -> list[Domain]:
    """The domains with ids that are numbered in their order (Polars' Enum), users and items of all domains alike.

    They read, sort and compare as before; on text that is most of the work of loading.
    """
    ids = {
        "user": [domain.events["user"] for domain in domains],
        "item": [table["item"] for domain in domains for table in (domain.events, domain.items)],
    }
    kinds = {
        name: pl.Enum(pl.concat([column.unique() for column in columns]).unique().sort()) for name, columns in ids.items()
    }
    return [
        replace(
            domain,
            events=domain.events.with_columns(pl.col(name).cast(kind) for name, kind in kinds.items()),
            items=domain.items.with_columns(pl.col("item").cast(kinds["item"])),
        )
        for domain in domains
    ]


def places(ids: pl.Series, of: pl.Series) -> np.ndarray:
    """Where ids stand in `of`, which is sorted and without repeats: int32 [ids]; of no meaning for an id that it lacks."""
    kind = of.dtype  # Polars looks at all categories of an Enum whenever it is asked
    if isinstance(kind, pl.Enum):
        place = np.zeros(len(kind.categories), np.int32)
        place[of.to_physical()] = np.arange(len(of))
        return place[ids.to_physical()]
    return of.search_sorted(ids).to_numpy().astype(np.int32)

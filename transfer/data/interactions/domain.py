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
    counts as liked (null: all do), `disliked` the one up to which it counts as disliked (null: none does). `others`, once
    the likes are taken, holds the events that are none. `columns` says which column of the file was taken for what (null:
    none), `files` how it was read.
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
    disliked: float | None = None


def with_numbered_ids(domains: list[Domain]) -> list[Domain]:
    """The domains with ids that are numbered in their order (Polars' Enum), users and items of all domains alike.

    They read, sort and compare as before; on text that is most of the work of loading.
    """
    users = [domain.events["user"] for domain in domains]
    items = [table["item"] for domain in domains for table in (domain.events, domain.items)]
    user, item = _numbered(users), _numbered(items)
    return [
        replace(
            domain,
            events=domain.events.with_columns(user[i], item[2 * i]),
            items=domain.items.with_columns(item[2 * i + 1]),
        )
        for i, domain in enumerate(domains)
    ]


def _numbered(columns: list[pl.Series]) -> list[pl.Series]:
    """The columns as one Enum: cast at once, because a cast looks at all categories, however short the column is."""
    whole = pl.concat(columns)
    whole = whole.cast(pl.Enum(whole.unique().sort()))
    ends = np.cumsum([len(column) for column in columns])
    return [whole.slice(end - len(column), len(column)) for column, end in zip(columns, ends, strict=True)]


def places(ids: pl.Series, of: pl.Series) -> np.ndarray:
    """Where ids stand in `of`, which is sorted and without repeats: int32 [ids]; of no meaning for an id that it lacks."""
    numbers, known = ids.to_physical(), of.to_physical()  # to ask for the type of an Enum looks at all its categories
    if known.dtype == pl.String:
        return of.search_sorted(ids).to_numpy().astype(np.int32)
    most = max((int(codes.max()) for codes in (numbers, known) if len(codes)), default=-1)  # type: ignore[arg-type]
    place = np.zeros(most + 1, np.int32)
    place[known] = np.arange(len(of))
    return place[numbers]

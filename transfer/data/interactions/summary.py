"""Counts of a world by domain and part, as result.json and the screen have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from transfer.data.interactions.domain import Domain
from transfer.data.interactions.likes import counted


def summary_of(
    target: Domain,
    sources: list[Domain],
    train: pl.DataFrame,
    visible: list[pl.DataFrame],
    hidden: dict[str, pl.DataFrame],
    users: pl.Series,
    counts: dict[str, Any],
) -> dict[str, Any]:
    """Counts of the world by domain and part, as JSON values."""

    def count(events: pl.DataFrame) -> dict[str, int]:
        return {"users": events["user"].n_unique(), "items": events["item"].n_unique(), "events": len(events)}

    in_sources = pl.concat([v["user"] for v in visible]).unique() if visible else pl.Series([], dtype=pl.String)
    shared = train["user"].unique().is_in(in_sources.implode()).sum() if visible else 0
    return {
        "target": {
            "name": target.name,
            "train": count(train),
            **{name: count(part) for name, part in hidden.items()},
            **read_as(target),
        },
        "sources": [{"name": s.name, "train": count(v), **read_as(s)} for s, v in zip(sources, visible, strict=True)],
        "users": len(users),
        "users_trained_in_both": int(shared),
        **counts,
    }


def counted_in(catalogue: dict[str, np.ndarray], dislikes: dict[str, pl.DataFrame]) -> dict[str, Any]:
    """Of how many items genres, texts and prices are known, and how many dislikes are hidden with the likes."""
    known = {name: (rows if rows.ndim == 1 else rows.any(axis=1)) != 0 for name, rows in catalogue.items()}
    told = {name: {"items": int(there.sum()), "of": len(there)} for name, there in known.items()}
    hidden = {name: len(part) for name, part in dislikes.items()}
    return ({"measured_by": told} if told else {}) | ({"dislikes_hidden": hidden} if hidden else {})


def read_as(domain: Domain) -> dict[str, Any]:
    """How a domain was understood: the column taken for each role, the rows of the file that are its own, how many items
    have a title, what counts as liked."""
    read: dict[str, Any] = {"columns": domain.columns} if domain.columns else {}
    if domain.files and domain.files.where:
        read["where"] = {column: list(values) for column, values in domain.files.where}
    if domain.columns:
        ids = domain.events["item"].unique()
        titled = domain.items.filter(pl.col("title").is_not_null())["item"]
        read["titles"] = {"known": int(ids.is_in(titled.implode()).sum()), "of": len(ids)}
    return read if domain.others is None else {**read, "likes": counted(domain)}

"""What a split leaves: training, validation and test events, and the draws that every rule makes them with."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from transfer.config.splits import Split


@dataclass(frozen=True)
class Parts:
    """Training, validation and test events of the target, and what is visible of each source.

    `train` and `sources` carry a Boolean column `stop`: events that stages of one domain hold out for early stopping.
    `rated` and `rated_valid`: what users have rated without liking it, known before the validation and before the test.
    `histories`, where people come after training: what is known of them then, by domain, the target first.
    `newcomers`: who of those without training events in the target is asked: nobody, whom a source knows, or everybody.
    `new_items`: the hidden events are of items without training events, which are ranked among themselves.
    `order`: which events of a user are hidden, in words, where the rule takes the data into account.
    """

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    sources: tuple[pl.DataFrame, ...]
    rated: pl.DataFrame | None = None
    rated_valid: pl.DataFrame | None = None
    histories: tuple[pl.DataFrame, ...] = ()
    newcomers: Literal["none", "known", "all"] = "known"
    new_items: bool = False
    order: str | None = None


def drawn(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def shuffled(events: pl.DataFrame, name: str, seed: int, by: str | None = None) -> pl.DataFrame:
    """Events in random order within each user (or ordered by a column, ties at random), with `rank` and `count`."""
    ordered = events.sort("user", "item")
    ordered = ordered.with_columns(draw=pl.Series(drawn(name, seed).random(len(ordered))))
    ordered = ordered.sort(["user", by, "draw"] if by else ["user", "draw"])
    return ordered.with_columns(rank=pl.int_range(pl.len()).over("user"), count=pl.len().over("user").cast(pl.Int64))


def with_stop(events: pl.DataFrame, name: str, config: Split, by: str | None = None) -> pl.DataFrame:
    """Mark a share `split.stop` of each user's events as this domain's own hold-out: random ones, or the last `by` time."""
    ranked = shuffled(events, f"stop/{name}", config.seed, by)
    n_stop = (pl.col("count") * config.stop + 0.5).floor()
    return ranked.with_columns(stop=(pl.col("count") - pl.col("rank")) <= n_stop).drop("draw", "rank", "count")

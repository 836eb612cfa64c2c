"""Wall seconds from files to arrays, cleaned and split; the unit is Polars' own reading of the same files."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measuring import Row, in_turns, scratch


def measure(arguments: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    for events in (10**5, 10**6):
        folder = scratch()
        random = np.random.default_rng(0)
        for name in ("movies", "books"):
            people, items = events // 10, events // 50
            pairs = {"user": random.integers(0, people, events), "item": (items * random.random(events) ** 2).astype(int)}
            frame = pl.DataFrame(pairs).unique(maintain_order=True).with_columns(pl.all().cast(pl.String))
            frame.with_columns(rating=pl.Series(random.integers(1, 6, len(frame)))).write_parquet(
                folder / f"{name}.parquet"
            )

        reading = "Polars' reading of the same files"
        measured = {reading: partial(read, folder), f"cleaned and split, 2 x {events:,} events": partial(load, folder)}
        rows += in_turns(measured, reading, arguments.turns, measured[reading])
    return rows


def read(folder: Path) -> float:
    began = time.perf_counter()
    for file in folder.glob("*.parquet"):
        pl.read_parquet(file)
    return time.perf_counter() - began


def load(folder: Path) -> float:
    from transfer.api import compose
    from transfer.data import load as loading
    from transfer.experiment.build import load_world

    files = [f"domain.source.path={folder / 'movies.parquet'}", f"domain.target.path={folder / 'books.parquet'}"]
    config = compose(["domain=files", *files, "split=cold_start"])
    loading._load.cache_clear()  # type: ignore[attr-defined]
    began = time.perf_counter()
    load_world(config)
    return time.perf_counter() - began

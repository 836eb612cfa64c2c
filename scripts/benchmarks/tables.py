"""Seconds of a training step of BPR-MF by the length of its tables and how they are updated, 4,096 events a step."""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

from benchmarks.measuring import Row, in_turns, scratch
from benchmarks.steps import step

LENGTHS, UPDATES = (10**4, 10**5, 10**6), ("dense", "late", "adagrad")
REFERENCE = ("dense", 10**4)


def measure(arguments: argparse.Namespace) -> list[Row]:
    def case(length: int) -> tuple[str, ...]:
        """As many users as items, five events of each user."""
        random, file = np.random.default_rng(0), scratch() / "books.parquet"
        pairs = {"user": np.repeat(np.arange(length), 5), "item": random.integers(0, length, 5 * length)}
        pl.DataFrame(pairs).unique(maintain_order=True).write_parquet(file)
        return ("domain=files", "domain.source=null", f"domain.target.path={file}", "split=ratio", "method=target_only")

    measured = {
        named(how, n): step((*case(n), "train.batch_size=4096", "model.dim=32", f"train.tables={how}"))
        for n in LENGTHS
        for how in UPDATES
    }
    return in_turns(measured, named(*REFERENCE), arguments.turns)


def named(how: str, length: int) -> str:
    return f"train.tables={how}, {length:,} rows"

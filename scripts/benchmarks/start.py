"""Processor seconds of whole commands, with warm caches; the unit is a process that imports JAX, NumPy and Polars."""

from __future__ import annotations

import argparse
import sys

from benchmarks.measuring import Row, in_turns, processor_seconds, scratch, transfer

UNIT = "import jax, numpy, polars"


def measure(arguments: argparse.Namespace) -> list[Row]:
    real = ("domain=amazon_movies_books", f"data_dir={arguments.data_dir}", "train.progress=false")

    def seconds(*words: str) -> float:
        """Of a run in a folder of its own: one that is there would not run again."""
        return processor_seconds(transfer(*words, f"hydra.run.dir={scratch()}"))

    measured = {
        UNIT: lambda: processor_seconds([sys.executable, "-c", f"{UNIT}; jax.devices()"]),
        "transfer --help": lambda: processor_seconds(transfer("--help")),
        "transfer --version": lambda: processor_seconds(transfer("--version")),
        "ease, simulated": lambda: seconds("method=ease"),
        "ease, amazon_movies_books": lambda: seconds(*real, "method=ease"),
        "target_only, amazon_movies_books": lambda: seconds(*real, "method=target_only"),
    }

    def warm() -> None:
        for each in measured.values():
            each()

    return in_turns(measured, UNIT, arguments.turns, warm)

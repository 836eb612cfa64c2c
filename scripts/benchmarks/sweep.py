"""Sweeps: wall seconds of other ways to run the same grid, in units of ours; and what a job costs beside its training."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

from benchmarks.measuring import Row, in_turns, processor_seconds, run, scratch, transfer, wall_seconds

RATES = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03)
TINY = (
    "task=rating",
    "domain.users=200",
    "domain.source_items=80",
    "domain.target_items=60",
    "domain.source_events=15",
    "domain.target_events=8",
    "model.dim=8",
    "train.batch_size=256",
    "train.epochs=2",
    "train.progress=false",
)
REAL = ("domain=amazon_movies_books", "split=ratio", "train.progress=false")
# A method whose training is most of a run, and one whose start is.
METHODS = {"target_only": ("method=target_only", "train.batch_size=4096"), "ease": ("method=ease",)}
NUMBERS = {"target_only": "hp.learning_rate", "ease": "hp.ridge"}


def measure(arguments: argparse.Namespace) -> list[Row]:
    return [*_grid(arguments, "target_only"), *_grid(arguments, "ease"), *_jobs(arguments)]


def _grid(arguments: argparse.Namespace, method: str) -> list[Row]:
    """A grid of 8 values of the method's number and as many seeds as give the runs."""
    seeds, number = arguments.runs // len(RATES), NUMBERS[method]
    words = [*REAL, *METHODS[method], f"data_dir={arguments.data_dir}"]
    grid = [*words, f"{number}={','.join(map(str, RATES))}", f"seed=range({seeds})"]

    def sweep(*more: str) -> float:
        folder = scratch()
        seconds = wall_seconds(transfer("-m", *grid, f"hydra.sweep.dir={folder}", *more))
        assert _statuses(folder) == ["done"] * arguments.runs
        return seconds

    def processes() -> float:
        """A process for every run, two at a time."""
        waiting = [(rate, seed) for rate in RATES for seed in range(seeds)]
        running: list[subprocess.Popen[bytes]] = []
        began = time.perf_counter()
        while waiting or running:
            while waiting and len(running) < 2:
                rate, seed = waiting.pop()
                own = [f"{number}={rate}", f"seed={seed}", f"hydra.run.dir={scratch()}"]
                running.append(subprocess.Popen(transfer(*words, *own), stdout=subprocess.DEVNULL))
            running = [process for process in running if process.poll() is None]
            time.sleep(0.02)
        return time.perf_counter() - began

    ours = f"one sweep of {arguments.runs} runs of {method}"
    measured = {
        ours: sweep,
        "the same, engine=joblib": lambda: sweep("engine=joblib"),
        "a process for every run, two at a time": processes,
    }
    return in_turns(measured, ours, arguments.turns, lambda: run(transfer(*words, f"hydra.run.dir={scratch()}")))


def _jobs(arguments: argparse.Namespace) -> list[Row]:
    """Processor seconds of sweeps of a tiny model; the unit is one of two runs."""

    def words(runs: int, folder: Path) -> list[str]:
        return transfer("-m", *TINY, f"seed=range({runs})", f"hydra.sweep.dir={folder}")

    def sweep(runs: int) -> float:
        return processor_seconds(words(runs, scratch()))

    kept = scratch()
    run(words(300, kept))
    measured = {
        "a tiny sweep of 2": lambda: sweep(2),
        "of 300": lambda: sweep(300),
        "taking up 300 finished runs": lambda: processor_seconds(words(300, kept)),
    }
    return in_turns(measured, "a tiny sweep of 2", arguments.turns)


def _statuses(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in folder.glob("*/result.json")]

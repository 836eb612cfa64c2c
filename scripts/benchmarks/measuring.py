"""How parts measure: processes and functions in turns, as ratios to a reference of the same turn."""

from __future__ import annotations

import atexit
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A figure of the table: how often `of` fits into `what`, median and extremes over the turns."""

    what: str
    of: str
    ratio: float
    low: float
    high: float
    turns: int


def in_turns(
    measured: Mapping[str, Callable[[], float]], reference: str, turns: int, first: Callable[[], Any] | None = None
) -> list[Row]:
    """Every function of seconds is called once a turn; its ratio to `reference` is taken within the turn.

    first: called before, so that nobody pays for what only the first has to do.
    """
    if first:
        first()
    ratios: dict[str, list[float]] = {name: [] for name in measured if name != reference}
    for turn in range(turns):
        seconds = {name: function() for name, function in measured.items()}
        for name, of in ratios.items():
            of.append(seconds[name] / seconds[reference])
        print(f"turn {turn + 1} of {turns}", file=sys.stderr)
    return [Row(n, reference, statistics.median(of), min(of), max(of), turns) for n, of in ratios.items()]


def processor_seconds(words: Sequence[str]) -> float:
    """User and system time of a command and its children. Ends the benchmark with what it said where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wall_seconds(words: Sequence[str]) -> float:
    """Wall time of a command."""
    began = time.perf_counter()
    run(words)
    return time.perf_counter() - began


def run(words: Sequence[str]) -> None:
    """Run a command. Raises SystemExit with what it said where it fails."""
    done = subprocess.run(list(words), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")


def transfer(*words: str) -> list[str]:
    """The command line of `transfer WORDS` with this interpreter."""
    return [sys.executable, "-m", "transfer", *words]


def scratch() -> Path:
    """A new folder, removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="benchmark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def best_of(function: Callable[[], Any], least: float = 0.3, times: int = 3) -> float:
    """Seconds of one call, the least of as many as fill `least` seconds; the first, which compiles, is not counted."""
    import jax

    jax.block_until_ready(function())
    found: list[float] = []
    while len(found) < times or sum(found) < least:
        began = time.perf_counter()
        jax.block_until_ready(function())
        found.append(time.perf_counter() - began)
    return min(found)

"""Measure the speed: `python scripts/benchmark.py start|sweep|steps|tables|load|peers|gpu`.

Every figure is a ratio within one turn of this script, since seconds depend on the machine: median and extremes over turns.
The table is printed and written as CSV, with machine and versions beside it; that of `gpu` is kept where there is a card.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transfer.errors import DISTRIBUTION

HERE = Path(__file__).resolve().parent
PARTS = ("start", "sweep", "steps", "tables", "load", "peers", "gpu")
KEPT = HERE.parent / "experiments" / "benchmarks"
VERSIONS = (
    DISTRIBUTION,
    "jax",
    "jaxlib",
    "jax-cuda13-plugin",
    "numpy",
    "polars",
    "hydra-core",
    "torch",
    "implicit",
)


def main() -> None:
    """Measure one part, print its table and write PART.csv and PART.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--turns", type=int, default=5, help="how often everything is measured (default 5)")
    parser.add_argument("--runs", type=int, default=32, help="runs of the grid of `sweep` (default 32)")
    parser.add_argument("--data-dir", default=os.environ.get("TRANSFER_DATA", "."), help="folder of amazon-movies-books")
    parser.add_argument("--peers", help="Python with RecBole, for `peers` (scripts/benchmarks/peers.txt)")
    parser.add_argument("--scale", type=float, help="size of the work of `gpu` (default 1 on a card, 0.001 without)")
    parser.add_argument("--out", type=Path, help="where the files go (default experiments/benchmarks)")
    arguments = parser.parse_args()
    arguments.data_dir = Path(arguments.data_dir).resolve()
    from transfer.training.accelerator import tell_compiler
    from transfer.training.compile_cache import use_compile_cache

    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # child processes start as a user's: from bytecode
    tell_compiler()
    use_compile_cache()
    part = importlib.import_module(f"benchmarks.{arguments.part}")
    rows = part.measure(arguments)
    if why := getattr(part, "not_kept", lambda _: None)(arguments):
        print(f"{why}: the table is {f'in {arguments.out}' if arguments.out else 'not kept'}")
    if arguments.out or not why:
        write(arguments.out or KEPT, arguments.part, rows, getattr(part, "facts", lambda _: {})(arguments))
    for row in rows:
        print(f"{row.ratio:9.4g} x {row.of}  ({row.low:.4g} to {row.high:.4g}, {row.turns} turns)  {row.what}")


def write(folder: Path, part: str, rows: list[Any], facts: dict[str, object]) -> None:
    """PART.csv and, with the machine, PART.json."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{part}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(rows[0]._fields)
        table.writerows([*row[:2], *(f"{number:.4g}" for number in row[2:5]), row.turns] for row in rows)
    (folder / f"{part}.json").write_text(json.dumps({**machine(), **facts}, indent=1) + "\n")


def machine() -> dict[str, object]:
    """What the figures were made on."""
    import jax

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {
        "processor": platform.processor() or platform.machine(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "runtime": " ".join(jax.devices()[0].client.platform_version.split()),
        "versions": {name: found for name in VERSIONS if (found := installed(name))},
    }


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()

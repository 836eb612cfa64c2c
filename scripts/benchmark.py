"""Measure the speed: `python scripts/benchmark.py start|sweep|steps|tables|load|peers`.

Every figure is a ratio within one turn of this script, since seconds depend on the machine: median and extremes over turns.
The table is printed and written as CSV, with machine and versions beside it.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import platform
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = ("start", "sweep", "steps", "tables", "load", "peers")
VERSIONS = ("transfer", "jax", "jaxlib", "numpy", "polars", "hydra-core", "torch")


def main() -> None:
    """Measure one part, print its table and write PART.csv and PART.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--turns", type=int, default=5, help="how often everything is measured (default 5)")
    parser.add_argument("--runs", type=int, default=32, help="runs of the grid of `sweep` (default 32)")
    parser.add_argument("--data-dir", default=os.environ.get("TRANSFER_DATA", "."), help="folder of amazon-movies-books")
    parser.add_argument("--peers", help="Python with RecBole, for `peers` (scripts/benchmarks/peers.txt)")
    parser.add_argument("--out", type=Path, default=HERE.parent / "experiments" / "benchmarks", help="where the files go")
    arguments = parser.parse_args()
    arguments.data_dir = Path(arguments.data_dir).resolve()
    rows = importlib.import_module(f"benchmarks.{arguments.part}").measure(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / f"{arguments.part}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(rows[0]._fields)
        table.writerows([*row[:2], *(f"{number:.4g}" for number in row[2:5]), row.turns] for row in rows)
    (arguments.out / f"{arguments.part}.json").write_text(json.dumps(machine(), indent=1) + "\n")
    for row in rows:
        print(f"{row.ratio:9.4g} x {row.of}  ({row.low:.4g} to {row.high:.4g}, {row.turns} turns)  {row.what}")


def machine() -> dict[str, object]:
    """What the figures were made on."""
    import jax

    return {
        "processor": platform.processor() or platform.machine(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in VERSIONS if find_spec(name.replace("-core", ""))},
    }


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()

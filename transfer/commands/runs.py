"""transfer runs [FOLDER]: the runs below a folder (default: runs), with their figures; the newest last."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from transfer.console import wide_console
from transfer.errors import TransferError
from transfer.report.comparison.files import clean
from transfer.report.comparison.runs import Run, read_run
from transfer.results.run_folder import RESULT

MOST = 200
NUMBERS = ("validation", "test", "seed", "split")


def main(words: list[str]) -> int:
    """Print a line for each run; the exit code."""
    parser = argparse.ArgumentParser("transfer runs", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), metavar="FOLDER")
    parser.add_argument("--all", action="store_true", help=f"all of them, not the newest {MOST} alone")
    asked = parser.parse_args(words)
    if not asked.folder.is_dir():
        raise TransferError(f"{asked.folder}: no such folder; give the one that holds runs, such as runs or sweeps")
    places = sorted(asked.folder.rglob(RESULT), key=lambda path: (path.stat().st_mtime, path))
    if not places:
        raise TransferError(f"{asked.folder}: no run is below it (none has a {RESULT})")
    shown = places if asked.all else places[-MOST:]
    table = Table(box=None, padding=(0, 1), title_justify="left")
    for column in ("run", "method", "domain", "seed", "split", "status", "metric", "validation", "test"):
        table.add_column(column, justify="right" if column in NUMBERS else "left", no_wrap=column == "method")
    for path in shown:
        run = read_run(path.parent)
        table.add_row(Text(os.path.relpath(path.parent, asked.folder)), *(Text(cell) for cell in cells(run)))
    wide_console().print(table)
    if len(shown) < len(places):
        print(f"the newest {MOST} of {len(places):,}; --all shows the others too")
    return 0


def cells(run: Run) -> list[str]:
    """What a line says of a run."""
    facts: dict[str, Any] = run.result
    metric = facts.get("select", {}).get("metric", "")
    figures = [facts["metrics"].get(part, {}).get(metric) for part in ("valid", "test")]
    names = [clean(str(facts.get(key, "–"))) for key in ("method", "domain", "seed", "split_seed", "status")]
    return [*names, clean(metric), *("–" if value is None else f"{value:.4f}" for value in figures)]

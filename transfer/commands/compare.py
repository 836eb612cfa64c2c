"""transfer compare A B: what differs between two runs, in their configurations and figures, with a test by reader.

Of two runs on the same world and split the difference in what is selected by has a 95 % interval over readers (or
examples): what another split or seed would change is not in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transfer.console import wide_console
from transfer.errors import TransferError
from transfer.evaluate.significance import Units, paired
from transfer.report.comparison.files import clean
from transfer.report.comparison.per_user import difference, read_tested
from transfer.report.comparison.runs import Run, read_run
from transfer.report.page.words import between, chance, number


def main(words: list[str]) -> int:
    """Print both side by side; the exit code."""
    parser = argparse.ArgumentParser(
        "transfer compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path, metavar="A")
    parser.add_argument("second", type=Path, metavar="B")
    asked = parser.parse_args(words)
    runs = [_done(asked.first), _done(asked.second)]
    console = wide_console()
    settings = [[key, *(clean(str(run.config.get(key, "–"))) for run in runs)] for key in keys(runs)]
    _print(console, "configuration", runs, settings or [["no setting differs", "", ""]])
    parts = [(part, name) for part in ("valid", "test") for name in runs[0].result["metrics"].get(part, {})]
    found = [[f"{part} {name}", *(_figure(run, part, name) for run in runs)] for part, name in parts]
    _print(console, "figures", runs, found)
    print(verdict(*runs))
    return 0


def keys(runs: list[Run]) -> list[str]:
    """The settings that differ."""
    every = dict.fromkeys(key for run in runs for key in run.config)
    return [key for key in every if len({str(run.config.get(key)) for run in runs}) > 1]


def verdict(first: Run, second: Run) -> str:
    """The difference of the second run to the first, by reader, or why there is none."""
    facts = [run.result for run in (first, second)]
    metric, sign = facts[1]["select"]["metric"], facts[1]["select"]["sign"]
    if facts[0]["select"]["metric"] != metric or facts[0]["fingerprint"] != facts[1]["fingerprint"]:
        return "not tested: they are not on the same world and split, or are judged by other metrics"
    tables = [read_tested(run) for run in (first, second)]
    if None in tables:
        return "not tested: one of them has no values by reader (test=false, or it is no longer there)"
    ours, theirs = ({("", 0): table} for table in tables[::-1] if table)
    sample = difference(metric, ours, theirs)
    if sample is None:
        return f"not tested: there are no values of {metric} by reader"
    units = Units(np.zeros_like(sample.units.split), sample.units.user, sample.units.balanced())
    result = paired(sample.linear, units)
    better = "better" if sign * result.difference > 0 else "worse"
    interval = f"95 % interval {between(result.low, result.high, '+')}, p {chance(result.p)}"
    return (
        f"test {metric}, B − A: {number(result.difference, '+')} ({better}; {interval}; over readers of this split alone)"
    )


def _done(folder: Path) -> Run:
    run = read_run(folder) if folder.is_dir() else None
    if run is None or not run.done:
        raise TransferError(f"{folder}: not the folder of a finished run; give the one that a run printed at its end")
    return run


def _figure(run: Run, part: str, name: str) -> str:
    value = run.result["metrics"].get(part, {}).get(name)
    return "–" if value is None else f"{value:.4f}"


def _print(console: Console, title: str, runs: list[Run], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for column, run in zip(("", "A", "B"), ("", *(run.folder for run in runs)), strict=True):
        table.add_column(Text(f"{column} {run}".strip()), justify="right" if column else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)

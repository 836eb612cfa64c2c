"""The comparison of a sweep on the screen: a row for every setting, and the runs that failed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from transfer.report.comparison.average import averages
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison, Setting, count, reference_name, shown
from transfer.report.comparison.gaps import gap_of, write_gaps
from transfer.report.comparison.runs import Run, read_runs


def print_sweep(folder: Path) -> list[Run]:
    """Write every run's gap to the reference into its result.json, print the tables of the sweep in `folder`."""
    runs = read_runs(folder)
    if not runs:
        return []
    console = wide_console()
    comparisons = compare(runs, pairs=False)
    for found in comparisons:
        write_gaps(found)
        console.print(sweep_table(found))
    for found in averages(comparisons):
        console.print(sweep_table(found))
    for run in runs:
        if not run.done:
            console.print(f"{run.folder.name}: {run.status} {run.error}", style="red", markup=False)
    console.print(f"run folders: {folder}", soft_wrap=True)
    return runs


def wide_console() -> Console:
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=140)


def sweep_table(found: Comparison) -> Table:
    """One row per setting: how many runs, test metrics as mean ± std, and the gap with its interval and verdict."""
    select = found.metric
    keys = list(dict.fromkeys(key for one in found.settings for key in one.label))
    keys = [key for key in keys if key == "method" or len({one.label.get(key) for one in found.settings}) > 1]
    names = [name for name in shown(select) if name in found.facts["metrics"][found.part]]
    table = Table(
        title=f"{found.title}: {found.part_name} figures of {len(found.runs)} runs, mean ± std; * best setting of its "
        f"method on validation; gap = difference to {reference_name(found)}, same world and seed",
    )
    for key in keys:
        table.add_column(key)
    for column in ("runs", *names, f"gap in {select}", "95 % interval", "verdict"):
        table.add_column(column, justify="right", no_wrap=True)
    alone = len(found.settings) == len(found.best)
    for one in found.settings:
        values = [[run.metric(found.part, name) for run in one.runs] for name in names]
        cells = [spread(value for value in of if value is not None) for of in values]
        gap = spread((g[select] for run in one.runs if (g := gap_of(run, found))), sign="+")
        label = [one.label.get(key) or str(one.values.get(key, "-")) for key in keys]
        label[0] += " *" if one.best and not alone else ""
        table.add_row(*label, count(one), *cells, gap, *_verdict(one, found))
    return table


def _verdict(one: Setting, found: Comparison) -> tuple[str, str]:
    gap = found.gap(one.method) if one.best else None
    if gap is None:
        return "", ""
    known = np.isfinite(gap.paired.low)
    return (f"{gap.paired.low:+.4f} … {gap.paired.high:+.4f}" if known else "-"), gap.verdict


def spread(values: Iterable[float], sign: str = "") -> str:
    """mean ± sample standard deviation (without it for a single value, a dash for none)."""
    numbers = list(values)
    if not numbers:
        return "-"
    deviation = f" ± {np.std(numbers, ddof=1):.4f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):{sign}.4f}{deviation}"

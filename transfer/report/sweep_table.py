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
    for comparison in comparisons:
        write_gaps(comparison)
        console.print(sweep_table(comparison))
    for comparison in averages(comparisons):
        console.print(sweep_table(comparison))
    for run in runs:
        if not run.done:
            console.print(f"{run.folder.name}: {run.status} {run.error}", style="red", markup=False)
    console.print(f"run folders: {folder}", soft_wrap=True)
    return runs


def wide_console() -> Console:
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=140)


def sweep_table(comparison: Comparison) -> Table:
    """One row per setting: how many runs, test metrics as mean ± std, and the gap with its interval and verdict."""
    select = comparison.metric
    keys = list(dict.fromkeys(key for setting in comparison.settings for key in setting.label))
    keys = [key for key in keys if key == "method" or len({setting.label.get(key) for setting in comparison.settings}) > 1]
    names = [name for name in shown(select) if name in comparison.facts["metrics"][comparison.part]]
    table = Table(
        title=f"{comparison.title}: {comparison.part_name} figures of {len(comparison.runs)} runs, mean ± std; "
        "* best setting of its method on validation; "
        f"gap = difference to {reference_name(comparison)}, same world and seed",
    )
    for key in keys:
        table.add_column(key)
    for column in ("runs", *names, f"gap in {select}", "95 % interval", "verdict"):
        table.add_column(column, justify="right", no_wrap=True)
    alone = len(comparison.settings) == len(comparison.best)
    for setting in comparison.settings:
        values = [[run.metric(comparison.part, name) for run in setting.runs] for name in names]
        cells = [spread(value for value in row if value is not None) for row in values]
        gap = spread((g[select] for run in setting.runs if (g := gap_of(run, comparison))), sign="+")
        label = [setting.label.get(key) or str(setting.values.get(key, "-")) for key in keys]
        label[0] += " *" if setting.best and not alone else ""
        table.add_row(*label, count(setting), *cells, gap, *_verdict(setting, comparison))
    return table


def _verdict(setting: Setting, comparison: Comparison) -> tuple[str, str]:
    gap = comparison.gap(setting.method) if setting.best else None
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

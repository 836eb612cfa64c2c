"""The comparison of a sweep on the screen: a row for every setting, and the runs that failed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from transfer.console import wide_console
from transfer.report.comparison.average import averages
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison, Setting, count, shown
from transfer.report.comparison.files import clean
from transfer.report.comparison.gaps import gap_of, write_gaps
from transfer.report.comparison.reference import TARGET_ONLY, Base, bases, reference_words
from transfer.report.comparison.runs import Run, read_runs, shown_name
from transfer.report.page.words import chance


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
        for line in [run.error] if not run.done else run.problems:
            console.print(f"{shown_name(run, folder)}: {run.status} {clean(line)}", style="red", markup=False)
    console.print(f"run folders: {folder}", soft_wrap=True, markup=False, highlight=False)
    return runs


def sweep_table(comparison: Comparison) -> Table:
    """One row per setting: how many runs, test metrics as mean ± std, and the gap with its interval and verdict."""
    select, named = comparison.metric, bases(comparison)
    keys = list(dict.fromkeys(key for setting in comparison.settings for key in setting.label))
    keys = [key for key in keys if key == "method" or len({setting.label.get(key) for setting in comparison.settings}) > 1]
    names = [name for name in shown(select) if name in comparison.facts["metrics"][comparison.part]]
    title = f"{comparison.title}: {comparison.part_name} figures of {len(comparison.runs)} runs, mean ± std; "
    title += "* best setting of its method on validation; gap = difference to the reference, same world and seed; "
    title += f"reference: {reference_words(comparison)}"
    table = Table(title=Text(title))
    for key in keys:
        longest = max(len(str(setting.label.get(key, ""))) for setting in comparison.settings)
        table.add_column(Text(key), min_width=min(longest, 24))  # figures give way before names do
    beside = [name for name in named if name == TARGET_ONLY][: len(named) - 1]
    beside = beside if next(iter(named)) != TARGET_ONLY else []
    heads = (
        "source",
        "runs",
        *names,
        f"gap in {select}",
        "95 % interval",
        "p",
        "verdict",
        *(f"gap to\n{name}" for name in beside),
    )
    for column in heads:
        table.add_column(Text(column), justify="right", no_wrap=True)
    alone = len(comparison.settings) == len(comparison.best)
    for setting in comparison.settings:
        values = [[run.metric(comparison.part, name) for run in setting.runs] for name in names]
        cells = [spread(value for value in row if value is not None) for row in values]
        gap, *others = (_gap(setting, named[name], select) for name in [next(iter(named)), *beside])
        others = [other.partition(" ")[0] for other in others]  # the mean alone
        label = [setting.label.get(key) or str(setting.values.get(key, "-")) for key in keys]
        label[0] += " *" if setting.best and not alone else ""
        sees = "yes" if setting.uses_source else "no"
        row = [*label, sees, count(setting), *cells, gap, *_verdict(setting, comparison), *others]
        table.add_row(*(Text(cell) for cell in row))
    return table


def _gap(setting: Setting, base_of: Base, metric: str) -> str:
    base = base_of(setting)
    if base is None or base is setting:
        return "reference" if base is setting else "-"
    return spread((gap[metric] for run in setting.runs if metric in (gap := gap_of(run, base))), sign="+")


def _verdict(setting: Setting, comparison: Comparison) -> tuple[str, str, str]:
    gap = comparison.gap(setting.method) if setting.best else None
    if gap is None:
        return "", "", ""
    known = np.isfinite(gap.paired.low)
    interval = f"{gap.paired.low:+.4f} … {gap.paired.high:+.4f}" if known else "-"
    return interval, chance(gap.holm), gap.verdict


def spread(values: Iterable[float], sign: str = "") -> str:
    """mean ± sample standard deviation (without it for a single value, a dash for none)."""
    numbers = list(values)
    if not numbers:
        return "-"
    deviation = f" ± {np.std(numbers, ddof=1):.4f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):{sign}.4f}{deviation}"

"""The comparison of a sweep on the screen: a row for every setting, and the runs that failed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

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

GUTTER, WIDE = 2, 180  # letters between columns; those of a line where nobody looks
LONG = 7  # letters of a number that nobody has written by hand


def print_sweep(folder: Path) -> list[Run]:
    """Write every run's gap to the reference into its result.json, print the tables of the sweep in `folder`."""
    runs = read_runs(folder)
    if not runs:
        return []
    console = wide_console()
    comparisons = compare(runs, pairs=False)
    for comparison in comparisons:
        write_gaps(comparison)
        console.print(sweep_table(comparison, console.width))
    for comparison in averages(comparisons):
        console.print(sweep_table(comparison, console.width))
    for run in runs:
        for line in [run.error] if not run.done else run.problems:
            console.print(f"{shown_name(run, folder)}: {run.status} {clean(line)}", style="red", markup=False)
    console.print(f"run folders: {folder}", soft_wrap=True, markup=False, highlight=False)
    return runs


class Column(NamedTuple):
    """A column of the screen: its head, its cells, and its rank: where there is no room, the highest go first."""

    head: str
    cells: list[str]
    rank: int

    @property
    def width(self) -> int:
        return max(map(len, [*self.head.splitlines(), *self.cells]))


def fitting(columns: list[Column], width: int) -> list[Column]:
    """Those for which there is room, in their order; the ones of rank 0 always."""
    kept, taken = [], -GUTTER
    for column in sorted(columns, key=lambda each: each.rank):
        if column.rank == 0 or taken + GUTTER + column.width <= width:
            kept.append(column)
            taken += GUTTER + column.width
    return [column for column in columns if column in kept]


def sweep_table(comparison: Comparison, width: int = WIDE) -> Table:
    """A row for each setting, as validation likes methods and the settings of each: test metrics as mean ± std over runs,
    and the gap with its interval and verdict; of the columns what fits."""
    columns = _columns(comparison)
    shown_of = fitting(columns, width)
    title = f"{comparison.title}: {comparison.part_name} figures of {len(comparison.runs)} runs, mean ± std"
    notes = [f"gap: to the reference, on the same worlds and seeds; reference: {reference_words(comparison)}"]
    if len(comparison.settings) > len(comparison.best):
        notes.append("*: the setting of its method that validation chose")
    if left := [" ".join(column.head.split()) for column in columns if column not in shown_of]:
        notes.append(f"no room for: {', '.join(left)}")
    table = Table(
        title=Text(title),
        caption=Text("; ".join(notes)),
        box=None,
        padding=(0, GUTTER, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for column in shown_of:
        key = column.rank == 0
        table.add_column(Text(column.head), justify="left" if key else "right", no_wrap=not key, overflow="fold")
    for row in zip(*(column.cells for column in shown_of), strict=True):
        table.add_row(*map(Text, row))
    return table


def _columns(comparison: Comparison) -> list[Column]:
    """All columns of a comparison, as wide as they want to be."""
    select, part, named = comparison.metric, comparison.part, bases(comparison)
    order = [setting.method for setting in comparison.best]
    settings = sorted(comparison.settings, key=lambda each: (order.index(each.method), not each.best, -_score(each)))
    keys = list(dict.fromkeys(key for setting in settings for key in setting.label))
    keys = [key for key in keys if key == "method" or len({setting.label.get(key) for setting in settings}) > 1]
    alone = len(settings) == len(comparison.best)
    labels = [[digits(str(each.label.get(key) or each.values.get(key, "-"))) for each in settings] for key in keys]
    if comparison.members:  # a mean over pairs has no columns of settings, which every pair may choose for itself
        labels[0] = [each.method for each in settings]
    labels[0] = [name + (" *" if each.best and not alone else "") for name, each in zip(labels[0], settings, strict=True)]
    columns = [Column(key, cells, rank=0) for key, cells in zip(keys, labels, strict=True)]

    def figures(of: str, name: str) -> list[str]:
        return [spread(value for run in each.runs if (value := run.metric(of, name)) is not None) for each in settings]

    columns.append(Column("source", ["yes" if each.uses_source else "no" for each in settings], rank=8))
    columns.append(Column("runs", [count(each) for each in settings], rank=6))
    if part == "test":
        means = [cell.partition(" ")[0] for cell in figures("valid", select)]
        columns.append(Column(f"validation\n{select}", means, rank=5))
    names = [name for name in shown(select) if name in comparison.facts["metrics"][part]]
    heads = [f"{comparison.part_name}\n{name}" for name in names]
    columns += [
        Column(head, figures(part, name), rank=1 if name == select else 10) for head, name in zip(heads, names, strict=True)
    ]
    first, *others = named
    columns.append(Column("gap", [_gap(each, named[first], select) for each in settings], rank=2))
    interval, p, verdict = zip(*(_verdict(each, comparison) for each in settings), strict=True)
    columns += [Column("95 % interval", list(interval), 4), Column("p", list(p), 7), Column("verdict", list(verdict), 3)]
    if TARGET_ONLY in others:
        columns.append(Column(f"gap to\n{TARGET_ONLY}", [_gap(each, named[TARGET_ONLY], select) for each in settings], 9))
    return columns


def digits(text: str) -> str:
    """A number with three significant digits, where it has many more: those that a search draws."""
    try:
        return f"{float(text):.3g}" if len(text) > LONG else text
    except ValueError:
        return text


def _score(setting: Setting) -> float:
    return setting.score if np.isfinite(setting.score) else -np.inf


def _gap(setting: Setting, base_of: Base, metric: str) -> str:
    base = base_of(setting)
    if base is None or base is setting:
        return "reference" if base is setting else "-"
    gaps = (gap[metric] for run in setting.runs if metric in (gap := gap_of(run, base)))
    return spread(gaps, sign="+").partition(" ")[0]  # the mean alone: its interval stands beside it


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

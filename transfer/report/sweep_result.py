"""A sweep in memory: its runs as a frame, the best of them by validation, its report."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from transfer.config import selection
from transfer.errors import TransferError
from transfer.experiment import Result, load_run
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.gaps import write_gaps
from transfer.report.comparison.runs import Run, read_runs, results_table
from transfer.results.drawing import Drawing

SHOWN = 30  # settings that a notebook shows


class SweepResult:
    """The runs in a folder. Raises TransferError where there are none."""

    def __init__(self, folder: Path, temporary: bool = False):
        self.folder = folder
        if temporary:  # it goes with this object
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.runs: list[Run] = read_runs(folder)
        if not self.runs:
            raise TransferError(f"{folder}: no runs here; give the folder of a sweep, which holds 0, 1, 2, ...")

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """One for all that is measured alike, with its settings, gaps and verdicts."""
        found = compare(self.runs)
        for comparison in found:
            write_gaps(comparison)
        return found

    def frame(self) -> pl.DataFrame:
        """A row for each run: what it was, how it ended, what it cost, all metrics as valid/NAME and test/NAME."""
        return results_table(self.runs, self.folder)

    @property
    def best(self) -> Result:
        """The run that validation prefers; its predictor reads the data again. Raises TransferError where none is done."""
        done = [run for run in self.runs if run.done]
        if not done:
            raise TransferError(f"{self.folder}: no run is done; {self.runs[0].error}")
        return load_run(max(done, key=lambda run: selection.score(run.result)).folder)

    def report(self, columns: Sequence[str] | None = None) -> Path:
        """Write the report into the folder: the path of its page. columns: of table.tex, such as ["method", "test"]."""
        from transfer.report.page.latex import NARROW  # late: the page is drawn
        from transfer.report.page.page import write_report

        return write_report(self.folder, self.runs, columns or NARROW)

    def plot(self, number: int = 0) -> Drawing:
        """The figures of the chosen settings with their intervals, of one of `comparisons`, as the page draws them."""
        from transfer.report.page.figures import figures_of_test  # late: it draws
        from transfer.report.page.svg import standing_alone

        return Drawing(standing_alone(figures_of_test(self.comparisons[number]).svg))

    def summary(self) -> pl.DataFrame:
        """A row for each setting: its name, whether it is the best of its method, runs, and the mean of the metric that
        selects, on validation and test."""
        rows = [
            {
                "world": comparison.title,
                "setting": setting.name,
                "best": setting.best,
                "runs": len(setting.runs),
                **{
                    f"{part}/{comparison.metric}": setting.mean(run.metric(part, comparison.metric) for run in setting.runs)
                    for part in ("valid", "test")
                },
            }
            for comparison in self.comparisons
            for setting in comparison.settings
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        statuses = [run.status for run in self.runs]
        ended = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
        return f"<sweep of {len(self)} runs: {ended}; {self.folder}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the settings as a table."""
        table = self.summary()
        heads = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
        cells = ["".join(f"<td>{escape(_shown(value))}</td>" for value in row) for row in table.head(SHOWN).iter_rows()]
        return f"<table><caption>{escape(repr(self))}</caption><tr>{heads}</tr><tr>{'</tr><tr>'.join(cells)}</tr></table>"


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)

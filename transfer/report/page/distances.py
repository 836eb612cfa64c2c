"""How far source and target are apart before and after the map: a table of distances, and pictures of both domains."""

from __future__ import annotations

import numpy as np
import polars as pl

from transfer.errors import TransferError
from transfer.report.comparison.comparison import Comparison, Setting
from transfer.report.comparison.files import read_parquet
from transfer.report.page.svg import SERIES, Figure, finish, legend, panel
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import number
from transfer.results.run_folder import PROJECTION

PANELS = 12
NAMES = {"mmd": "MMD²", "coral": "CORAL distance", "proxy_a": "proxy A-distance"}
TIMES = ("before", "after")
COLUMNS = ("same_axes", "domain", *(f"{time}_{axis}" for time in TIMES for axis in "xy"))


def distances(setting: Setting) -> dict[str, dict[str, float]]:
    """Mean over the runs of a setting: {before, after: {name: value}}; empty where they have none."""
    tables = [run.result.get("distance", {}) for run in setting.runs]
    tables = [
        table for table in tables if all(table.get(time, {}).get(name) is not None for time in TIMES for name in NAMES)
    ]
    return {
        time: {name: float(np.mean([table[time][name] for table in tables])) for name in NAMES} for time in TIMES if tables
    }


def table(comparison: Comparison) -> Leaderboard | None:
    """Distances by method, the best test figure first; None where no run has measured any."""
    rows = [(setting, measured) for setting in comparison.best if (measured := distances(setting))]
    heads = ["method", *(f"{name} {time}" for name in NAMES.values() for time in TIMES)]
    cells = [
        [Cell(setting.method), *(_cell(measured[time][name]) for name in NAMES for time in TIMES)]
        for setting, measured in rows
    ]
    return Leaderboard(heads, cells, [setting for setting, _ in rows]) if rows else None


def _cell(value: float) -> Cell:
    return Cell(f"{value:.2e}".replace("-", "−") if 0 < abs(value) < 1e-3 else number(value), value)


def projections(comparison: Comparison) -> list[Figure]:
    """Both domains in two dimensions before and after the map of every method, from one of its runs."""
    made: list[Figure] = []
    for setting in comparison.best:
        run = next((run for run in setting.runs if (run.folder / PROJECTION).exists()), None)
        if run is not None and len(made) < PANELS:
            try:
                made.append(_projection(setting, read_parquet(run.folder / PROJECTION, COLUMNS)))
            except TransferError as error:
                run.note(str(error))
    return made


def _projection(setting: Setting, points: pl.DataFrame) -> Figure:
    same = bool(points["same_axes"].all())
    canvas, axes = panel(height=2.6, columns=2, share=same)
    for axis, time in zip(axes, TIMES, strict=True):
        for domain, name, marker, colour in ((1, "source", "o", SERIES[0]), (0, "target", "^", SERIES[1])):
            part = points.filter(domain=domain)
            x, y = part[f"{time}_x"], part[f"{time}_y"]
            axis.plot(x, y, marker, color=colour, ms=3, mec="none", alpha=0.55, label=name)
        axis.set_title(f"{setting.method if time == 'before' else ''}\n{time}", loc="left", fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    legend(axes[0], markerscale=1.6, loc="best", handletextpad=0.1, borderpad=0.2)
    measured = distances(setting)
    pairs = [(label, *(_cell(measured[time][name]).text for time in TIMES)) for name, label in NAMES.items() if measured]
    description = "; ".join(f"{label} {before} → {after}" for label, before, after in pairs)
    kept = "the same axes before and after" if same else "after the map, in a space of another kind, axes of their own"
    caption = f"The two main directions of both domains, {kept}; {len(points):,} examples of one run. {description}"
    return finish(canvas, f"Source and target before and after {setting.method}: {description}", caption)

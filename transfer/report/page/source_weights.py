"""Which source is worth how much: weights that were learnt, the error without each source, and that of the first few."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.ticker import MaxNLocator

from transfer.report.comparison.comparison import Comparison, Setting
from transfer.report.comparison.files import clean
from transfer.report.page.svg import SERIES, Figure, finish, panel, told
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import number

SETTINGS, ROWS = 6, 60  # columns and rows at most
WEIGHTS, WITHOUT, ERRORS = "source_weights", "source_without", "source_errors"


def table(comparison: Comparison) -> Leaderboard | None:
    """A row for each source, the heaviest first: its weight and by how much the error for unseen readers rises without
    it, means over the runs of a setting. None where no run has learnt weights."""
    settings = list(_learnt(comparison))
    if not settings:
        return None
    weights = [_means(setting, WEIGHTS) for setting in settings]
    rises = [_means(setting, WITHOUT) for setting in settings]
    heaviest = {name: float(np.mean([of[name] for of in weights if name in of])) for of in weights for name in of}
    names = sorted(heaviest, key=lambda name: -heaviest[name])[:ROWS]
    heads = ["source", *(f"{what}, {setting.name}" for setting in settings for what in ("weight", "error without it"))]
    rows = []
    for name in names:
        pairs = zip(weights, rises, strict=True)
        cells = [cell for weight, rise in pairs for cell in (_weight(weight.get(name)), _rise(rise.get(name)))]
        rows.append([Cell(clean(name)), *cells])
    return Leaderboard(heads, rows, settings)


def curves(comparison: Comparison) -> list[Figure]:
    """The error for unseen readers by how many sources are taken, where they are taken one after another."""
    taken = [setting for setting in _learnt(comparison) if _orders(setting)]
    if not taken:
        return []
    canvas, (axis,) = panel()
    for setting, colour in zip(taken, SERIES, strict=False):
        for order in _orders(setting):
            line = axis.plot(range(1, len(order) + 1), list(order.values()), "-o", color=colour, ms=3.5, lw=1.2, alpha=0.8)
            told(line, f"{setting.name}: {', '.join(map(clean, order))}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title("error for unseen readers", loc="left", fontsize=10)
    axis.set_xlabel("sources taken (lower is better)", loc="right")
    first = {setting.name: ", ".join(map(clean, next(iter(_orders(setting))))) for setting in taken}
    orders = "; ".join(f"{name}: {order}" for name, order in first.items())
    caption = (
        f"Sources in the order in which they are taken, a line for each run, as a share of what popularity leaves. {orders}"
    )
    return [finish(canvas, f"Error by number of sources: {orders}", caption)]


def _learnt(comparison: Comparison) -> Iterator[Setting]:
    """The settings whose runs have weights of sources, the first few."""
    found = [setting for setting in comparison.settings if any(run.result.get(WEIGHTS) for run in setting.runs)]
    return iter(found[:SETTINGS])


def _orders(setting: Setting) -> list[dict[str, float]]:
    return [run.result[ERRORS] for run in setting.runs if run.result.get(ERRORS)]


def _means(setting: Setting, key: str) -> dict[str, float]:
    """The mean over runs of what a source has under a key."""
    tables = [run.result.get(key, {}) for run in setting.runs]
    names = dict.fromkeys(name for of in tables for name in of)
    return {name: float(np.mean([of[name] for of in tables if name in of])) for name in names}


def _weight(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(number(value), value)


def _rise(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:+.2%}".replace("-", "−"), value)

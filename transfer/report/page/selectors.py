"""Choosing without target labels: what each selector would choose, and how far that is behind the best."""

from __future__ import annotations

import numpy as np

from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.selectors import choices
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import number


def table(comparison: Comparison) -> Leaderboard | None:
    """A row for each selector; of a mean over pairs the means over them. None where there is nothing to choose."""
    if comparison.members:
        return _over_pairs(comparison)
    rows = choices(comparison)
    if not rows:
        return None
    heads = ["selector", "chooses", f"test {comparison.metric}", "regret", "regret within a method"]
    cells = [
        [
            Cell(row.selector),
            Cell(row.setting),
            Cell(number(row.test), row.test),
            *(_cell(v) for v in (row.regret, row.within)),
        ]
        for row in rows
    ]
    best = max(comparison.settings, key=lambda setting: comparison.sign * setting.summary("test", comparison.metric).mean)
    test = best.summary("test", comparison.metric).mean
    cells.append([Cell("oracle (test labels)"), Cell(best.name), Cell(number(test), test), _cell(0.0), _cell(0.0)])
    return Leaderboard(heads, cells, [])


def _over_pairs(comparison: Comparison) -> Leaderboard | None:
    tables = [{choice.selector: choice for choice in choices(member)} for member in comparison.members]
    names = [name for name in tables[0] if all(name in own for own in tables)]
    if not names:
        return None
    regrets = {name: [own[name].regret for own in tables] for name in names}
    within = {name: float(np.mean([own[name].within for own in tables])) for name in names}
    heads = ["selector", "mean regret over pairs", "largest regret", "regret within a method"]
    order = sorted(names, key=lambda name: float(np.mean(regrets[name])))
    cells = [
        [Cell(name), _cell(float(np.mean(regrets[name]))), _cell(float(np.max(regrets[name]))), _cell(within[name])]
        for name in order
    ]
    return Leaderboard(heads, cells, [])


def _cell(value: float) -> Cell:
    return Cell(number(value), None if value != value else value)

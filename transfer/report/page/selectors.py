"""Choosing without target labels: what each selector would choose, and how far that is behind the best."""

from __future__ import annotations

import numpy as np

from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.selectors import choices
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import number


def table(found: Comparison) -> Leaderboard | None:
    """A row for each selector; of a mean over pairs the means over them. None where there is nothing to choose."""
    if found.members:
        return _over_pairs(found)
    rows = choices(found)
    if not rows:
        return None
    heads = ["selector", "chooses", f"test {found.metric}", "regret", "regret within a method"]
    cells = [
        [Cell(of.selector), Cell(of.setting), Cell(number(of.test), of.test), *(_cell(v) for v in (of.regret, of.within))]
        for of in rows
    ]
    best = max(found.settings, key=lambda one: found.sign * one.summary("test", found.metric).mean)
    test = best.summary("test", found.metric).mean
    cells.append([Cell("oracle (test labels)"), Cell(best.name), Cell(number(test), test), _cell(0.0), _cell(0.0)])
    return Leaderboard(heads, cells, [])


def _over_pairs(found: Comparison) -> Leaderboard | None:
    tables = [{of.selector: of for of in choices(member)} for member in found.members]
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

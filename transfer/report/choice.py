"""Choosing without target labels: what each selector would choose, and how far that is behind the best."""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np

from transfer.report.comparison import Comparison, Setting
from transfer.report.tables import Cell, Leaderboard
from transfer.report.words import number
from transfer.selection import ORACLE, Selector


class Choice(NamedTuple):
    """The setting that a selector prefers, its mean test figure, how far it is behind the best setting (regret ≥ 0), and
    the mean of that over methods that have several settings, each among its own."""

    selector: str
    setting: str
    test: float
    regret: float
    within: float


def choices(found: Comparison) -> list[Choice]:
    """What every selector that all settings have would choose, the least regret first; empty for a single setting."""
    if found.part != "test" or len(found.settings) < 2:
        return []
    made = []
    for selector in get_args(Selector):
        scores = [_mean(one, selector, found) for one in found.settings]
        if selector in ("valid", ORACLE) or not np.isfinite(scores).all():
            continue
        chosen, regret = _regret(found, found.settings, scores)
        own = []
        for method in dict.fromkeys(one.values.get("method.name") for one in found.settings):
            rows = [i for i, one in enumerate(found.settings) if one.values.get("method.name") == method]
            if len(rows) > 1:
                own.append(_regret(found, [found.settings[i] for i in rows], [scores[i] for i in rows])[1])
        test = chosen.summary("test", found.metric).mean
        made.append(Choice(selector, chosen.name, test, regret, float(np.mean(own)) if own else float("nan")))
    return sorted(made, key=lambda one: one.regret)


def _mean(one: Setting, selector: str, found: Comparison) -> float:
    values = [run.result.get("selectors", {}).get(selector) for run in one.runs]
    return float(np.mean([np.nan if value is None else value for value in values]))


def _regret(found: Comparison, settings: list[Setting], scores: list[float]) -> tuple[Setting, float]:
    tests = [found.sign * one.summary("test", found.metric).mean for one in settings]
    at = int(np.argmax(scores))
    return settings[at], float(np.max(tests) - tests[at])


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

"""Choosing without target labels: what each selector would choose, and how far that is behind the best."""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np

from transfer.config.selection import ORACLE, Selector
from transfer.report.comparison.comparison import Comparison, Setting


class Choice(NamedTuple):
    """The setting that a selector prefers, its mean test figure, how far it is behind the best setting (regret ≥ 0), and
    the mean of that over methods that have several settings, each among its own."""

    selector: str
    setting: str
    test: float
    regret: float
    within: float


def choices(comparison: Comparison) -> list[Choice]:
    """What every selector that all settings have would choose, the least regret first; empty for a single setting."""
    if comparison.part != "test" or len(comparison.settings) < 2:
        return []
    made = []
    for selector in get_args(Selector):
        scores = [_mean(setting, selector, comparison) for setting in comparison.settings]
        if selector in ("valid", ORACLE) or not np.isfinite(scores).all():
            continue
        chosen, regret = _regret(comparison, comparison.settings, scores)
        own = []
        for method in dict.fromkeys(setting.values.get("method.name") for setting in comparison.settings):
            rows = [i for i, setting in enumerate(comparison.settings) if setting.values.get("method.name") == method]
            if len(rows) > 1:
                own.append(_regret(comparison, [comparison.settings[i] for i in rows], [scores[i] for i in rows])[1])
        test = chosen.summary("test", comparison.metric).mean
        made.append(Choice(selector, chosen.name, test, regret, float(np.mean(own)) if own else float("nan")))
    return sorted(made, key=lambda choice: choice.regret)


def _mean(setting: Setting, selector: str, comparison: Comparison) -> float:
    values = [run.result.get("selectors", {}).get(selector) for run in setting.runs]
    return float(np.mean([np.nan if value is None else value for value in values]))


def _regret(comparison: Comparison, settings: list[Setting], scores: list[float]) -> tuple[Setting, float]:
    tests = [comparison.sign * setting.summary("test", comparison.metric).mean for setting in settings]
    at = int(np.argmax(scores))
    return settings[at], float(np.max(tests) - tests[at])

"""What a source brings: the gain of every method over a model without it, by run, and the shares it harms and helps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transfer.evaluate import significance
from transfer.evaluate.significance import Paired
from transfer.report.comparison.average import PAIRS, by_pair
from transfer.report.comparison.compare import by_runs, by_users, of_summary, verdict
from transfer.report.comparison.comparison import Comparison, Setting, chosen_of, groups_of
from transfer.report.comparison.per_user import difference

LITTLE = 1e-3  # a change by less is none: among many tied items the expected figure of a list is a little above zero


class Effect(NamedTuple):
    """What a method gains over another, positive where it is better: overall, by run, and by group or class.

    worse, better: the shares of users (of classes, of pairs of domains) for whom it is; none where this is not known.
    """

    setting: Setting
    paired: Paired
    runs: dict[str, float]
    groups: dict[str, Paired]
    worse: float | None
    better: float | None

    @property
    def verdict(self) -> str:
        return verdict(self.paired, 1)


def effects(comparison: Comparison, name: str) -> list[Effect]:
    """The effect of every chosen method that sees the source against the one called `name`; empty where there is none."""
    effect_of = _of_pairs if comparison.members else _effect
    carriers = [(setting, chosen_of(comparison, name, setting)) for setting in comparison.best if setting.uses_source]
    made = [effect_of(comparison, setting, base) for setting, base in carriers if base and base is not setting]
    return [effect for effect in made if effect]


def _effect(comparison: Comparison, setting: Setting, base: Setting) -> Effect | None:
    values = by_runs(setting, base, comparison.metric)
    if not values:
        return None
    shared = {run.pair for run in base.runs}
    names = [f"split {r.result['split_seed']}, seed {r.result['seed']}" for r in setting.runs if r.pair in shared]
    gains = {name: comparison.sign * value for name, value in zip(names, values, strict=False)}
    ours, theirs = (comparison.tests.get(each.method, {}) for each in (setting, base))
    delta = difference(comparison.metric, ours, theirs)
    if delta is None:
        return Effect(setting, _better(of_summary(significance.summary(values)), comparison.sign), gains, {}, None, None)
    groups = {}
    for group in parts(comparison):
        if (own := difference(comparison.metric, ours, theirs, group)) is not None:
            groups[group] = _better(by_users(own), comparison.sign)
    each = comparison.sign * delta.plain
    if comparison.unit == "examples":  # of a single example there is little to say: classes are what is harmed
        each = np.array([paired.difference for paired in groups.values()])
    return Effect(setting, _better(by_users(delta), comparison.sign), gains, groups, *shares(each))


def _of_pairs(comparison: Comparison, setting: Setting, base: Setting) -> Effect:
    each = comparison.sign * np.subtract(by_pair(setting.method, comparison), by_pair(base.method, comparison))
    paired = of_summary(significance.summary(each))
    return Effect(setting, paired, {}, {}, *shares(each))


def shares(gains: np.ndarray) -> tuple[float | None, float | None]:
    """Of gains [n] the shares below -LITTLE and above LITTLE; none of none."""
    worse, better = gains < -LITTLE, gains > LITTLE
    return (float(np.mean(worse)), float(np.mean(better))) if len(gains) else (None, None)


def _better(paired: Paired, sign: int) -> Paired:
    """A difference in the direction of better."""
    low, high = sorted((sign * paired.low, sign * paired.high)) if np.isfinite(paired.low) else (paired.low, paired.high)
    return paired._replace(difference=sign * paired.difference, low=low, high=high)


def parts(comparison: Comparison) -> list[str]:
    """The groups of users that a comparison has, or its classes."""
    if comparison.unit == "users":
        return [group for group in groups_of(comparison) if group != "all"]
    return [f"class {number}" for number in range(len(comparison.facts["world"].get("classes", [])))]


def whole(comparison: Comparison) -> str:
    """What is counted as harmed or helped."""
    return PAIRS if comparison.members else "classes" if comparison.unit == "examples" else "users"

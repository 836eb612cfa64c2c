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

    one: Setting
    paired: Paired
    runs: dict[str, float]
    groups: dict[str, Paired]
    worse: float | None
    better: float | None

    @property
    def verdict(self) -> str:
        return verdict(self.paired, 1)


def effects(found: Comparison, name: str) -> list[Effect]:
    """The effect of every chosen method that sees the source against the one called `name`; empty where there is none."""
    of = _of_pairs if found.members else _effect
    carriers = [(one, chosen_of(found, name, one)) for one in found.best if one.uses_source]
    made = [of(found, one, base) for one, base in carriers if base and base is not one]
    return [one for one in made if one]


def _effect(found: Comparison, one: Setting, base: Setting) -> Effect | None:
    values = by_runs(one, base, found.metric)
    if not values:
        return None
    shared = {run.pair for run in base.runs}
    names = [f"split {r.result['split_seed']}, seed {r.result['seed']}" for r in one.runs if r.pair in shared]
    gains = {name: found.sign * value for name, value in zip(names, values, strict=False)}
    ours, theirs = (found.tests.get(of.method, {}) for of in (one, base))
    delta = difference(found.metric, ours, theirs)
    if delta is None:
        return Effect(one, _better(of_summary(significance.summary(values)), found.sign), gains, {}, None, None)
    groups = {}
    for group in parts(found):
        if (own := difference(found.metric, ours, theirs, group)) is not None:
            groups[group] = _better(by_users(own), found.sign)
    each = found.sign * delta.plain
    if found.unit == "examples":  # of a single example there is little to say: classes are what is harmed
        each = np.array([of.difference for of in groups.values()])
    return Effect(one, _better(by_users(delta), found.sign), gains, groups, *shares(each))


def _of_pairs(found: Comparison, one: Setting, base: Setting) -> Effect:
    each = found.sign * np.subtract(by_pair(one.method, found), by_pair(base.method, found))
    paired = of_summary(significance.summary(each))
    return Effect(one, paired, {}, {}, *shares(each))


def shares(gains: np.ndarray) -> tuple[float | None, float | None]:
    """Of gains [n] the shares below -LITTLE and above LITTLE; none of none."""
    worse, better = gains < -LITTLE, gains > LITTLE
    return (float(np.mean(worse)), float(np.mean(better))) if len(gains) else (None, None)


def _better(paired: Paired, sign: int) -> Paired:
    """A difference in the direction of better."""
    low, high = sorted((sign * paired.low, sign * paired.high)) if np.isfinite(paired.low) else (paired.low, paired.high)
    return paired._replace(difference=sign * paired.difference, low=low, high=high)


def parts(found: Comparison) -> list[str]:
    """The groups of users that a comparison has, or its classes."""
    if found.unit == "users":
        return [group for group in groups_of(found) if group != "all"]
    return [f"class {number}" for number in range(len(found.facts["world"].get("classes", [])))]


def whole(found: Comparison) -> str:
    """What is counted as harmed or helped."""
    return PAIRS if found.members else "classes" if found.unit == "examples" else "users"

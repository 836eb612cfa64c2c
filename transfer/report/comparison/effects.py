"""What a source brings: the gain of every method over a model without it, by run, and the shares it harms and helps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transfer.evaluate import significance
from transfer.evaluate.significance import Paired
from transfer.report.comparison.comparison import Comparison, Setting, by_pair, groups_of
from transfer.report.comparison.per_user import difference
from transfer.report.comparison.reference import Base
from transfer.report.comparison.verdicts import PAIRS, Measured, by_runs, margin_of, measure, verdict

LITTLE = 1e-3  # a change by less is none: among many tied items the expected figure of a list is a little above zero


class Effect(NamedTuple):
    """What a method gains over another, positive where it is better: overall, by run, and by group or class.

    holm: p corrected over the methods that see the source; worse, better: the shares of users (of classes, of pairs of
    domains) for whom it is; none where this is not known.
    """

    setting: Setting
    measured: Measured
    runs: dict[str, float]
    groups: dict[str, Paired]
    worse: float | None
    better: float | None
    holm: float = float("nan")
    verdict: str = ""

    @property
    def paired(self) -> Paired:
        return self.measured.paired


def effects(comparison: Comparison, base_of: Base) -> list[Effect]:
    """The effect of every chosen method that sees the source against its base; empty where there is none."""
    carriers = [(setting, base_of(setting)) for setting in comparison.best if setting.uses_source]
    rows = [(base, _effect(comparison, setting, base)) for setting, base in carriers if base and base is not setting]
    made = [(base, effect) for base, effect in rows if effect]
    known = [effect.paired.p if effect.measured.repeats >= significance.LEAST else float("nan") for _, effect in made]
    corrected = significance.holm(known)
    return [
        effect._replace(holm=p, verdict=verdict(effect.measured, p, 1, margin_of(comparison, base)))
        for (base, effect), p in zip(made, corrected, strict=True)
    ]


def _effect(comparison: Comparison, setting: Setting, base: Setting) -> Effect | None:
    measured = measure(comparison, setting, base)
    if measured is None:
        return None
    measured = measured._replace(paired=_better(measured.paired, comparison.sign))
    if comparison.members:
        each = comparison.sign * np.subtract(by_pair(setting.method, comparison), by_pair(base.method, comparison))
        return Effect(setting, measured, {}, {}, *shares(each))
    values = by_runs(setting, base, comparison)
    names = {run.pair: f"split {run.result['split_seed']}, seed {run.result['seed']}" for run in setting.runs}
    gains = {names[pair]: comparison.sign * value for pair, value in values.items()}
    ours, theirs = (comparison.tests.get(each.method, {}) for each in (setting, base))
    delta = difference(comparison.metric, ours, theirs)
    if delta is None:
        return Effect(setting, measured, gains, {}, None, None)
    groups = {}
    for group in parts(comparison):
        if (own := measure(comparison, setting, base, group)) is not None:
            groups[group] = _better(own.paired, comparison.sign)
    each = comparison.sign * delta.plain
    if comparison.unit == "examples":  # of a single example there is little to say: classes are what is harmed
        each = np.array([paired.difference for paired in groups.values()])
    return Effect(setting, measured, gains, groups, *shares(each))


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

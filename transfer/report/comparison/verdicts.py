"""Gaps between methods and what they say: helps, hurts, no difference within a margin, not shown, not tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transfer.evaluate import significance
from transfer.evaluate.significance import LEAST, Paired
from transfer.report.comparison.comparison import Comparison, Gap, Setting, by_pair, span
from transfer.report.comparison.per_user import GROUPS, difference, level
from transfer.report.comparison.reference import TARGET_ONLY, Base, chosen_of, reference

HELPS, HURTS, SAME, NOT_SHOWN, NOT_TESTED, NO_SOURCE = VERDICTS = (
    "helps",
    "hurts",
    "no difference",
    "not shown",
    "not tested",
    "no source",
)
ALPHA = 0.05
MARGIN = 0.05  # of the reference's figure: methods that differ by less than that are called equal
PAIRS = "pairs of domains"


class Measured(NamedTuple):
    """A difference of two methods, what its interval is over, how many of these, and how many splits or pairs."""

    paired: Paired
    basis: str
    size: int
    repeats: int


def measure(comparison: Comparison, setting: Setting, base: Setting, group: str = "all") -> Measured | None:
    """The difference of the test metric, over pairs of domains, users within splits, or else splits; None where unknown."""
    low, high = span(comparison.metric)
    ours, theirs = (comparison.tests.get(each.method, {}) for each in (setting, base))
    if comparison.members:
        values = np.subtract(by_pair(setting.method, comparison), by_pair(base.method, comparison))
        measured = Measured(of_means(values), PAIRS, len(values), len(values))
    elif delta := difference(comparison.metric, ours, theirs, group):
        paired = significance.paired(delta.linear, delta.units, delta.by_run)
        measured = Measured(paired, comparison.unit, len(delta.linear), len(np.unique(delta.units.split)))
    elif group == "all" and (by_world := split_means(setting, base, comparison)):
        measured = Measured(of_means(by_world), "splits", len(by_world), len(by_world))
    else:
        return None
    return measured._replace(paired=significance.bounded(measured.paired, low - high, high - low))


def of_means(values: Sequence[float] | np.ndarray) -> Paired:
    """The mean of independent differences; no interval where they are fewer than three."""
    summary = significance.summary(values)
    if summary.n < LEAST:
        return Paired(summary.mean, *(np.nan,) * 5)
    return significance.interval(summary.mean, summary.std**2 / summary.n, summary.n - 1.0)


def by_runs(ours: Setting, theirs: Setting, comparison: Comparison) -> dict[tuple[str, int], float]:
    """Differences of the test figure on every world and seed that both settings have."""
    part, metric = comparison.part, comparison.metric
    other = {run.pair: run.metric(part, metric) for run in theirs.runs}
    values = {run.pair: (run.metric(part, metric), other.get(run.pair)) for run in ours.runs}
    return {pair: a - b for pair, (a, b) in values.items() if a is not None and b is not None}


def split_means(ours: Setting, theirs: Setting, comparison: Comparison) -> list[float]:
    """The mean difference of every split: seeds on one split are no new splits."""
    values: dict[str, list[float]] = {}
    for (world, _), value in by_runs(ours, theirs, comparison).items():
        values.setdefault(world, []).append(value)
    return [float(np.mean(row)) for row in values.values()]


def verdict(measured: Measured, holm: float, sign: int, margin: float) -> str:
    """What a difference says of a method that sees the source.

    not tested: fewer than three splits (or pairs of domains), or no interval; helps, hurts: p < 0.05 after correction;
    no difference: the 95 % interval lies within ± margin (equivalence); else not shown.
    """
    paired = measured.paired
    if measured.repeats < LEAST or not np.isfinite(paired.low):
        return NOT_TESTED
    if holm < ALPHA:
        return HELPS if sign * paired.difference > 0 else HURTS
    return SAME if -margin <= paired.low and paired.high <= margin else NOT_SHOWN


def margin_of(comparison: Comparison, base: Setting | None) -> float:
    """The margin of equivalence: 5 % of the reference's figure."""
    return MARGIN * abs(base.summary(comparison.part, comparison.metric).mean) if base else float("nan")


def fill(comparison: Comparison) -> None:
    """Give a comparison its gaps to the reference and to target_only, and the intervals of its figures."""
    for setting in () if comparison.members else comparison.best:
        if known := level(comparison.metric, comparison.tests.get(setting.method, {})):
            paired = significance.bounded(
                significance.paired(known.linear, known.units, known.by_run), *span(comparison.metric)
            )
            if np.isfinite(paired.low):
                comparison.intervals[setting.method] = (paired.low, paired.high)
    groups = ("all",) if comparison.members else tuple(GROUPS)
    comparison.gaps.extend(_gaps(comparison, lambda setting: reference(comparison, setting), groups))
    comparison.target_gaps.extend(_gaps(comparison, lambda setting: chosen_of(comparison, TARGET_ONLY, setting), ("all",)))


def _gaps(comparison: Comparison, base_of: Base, groups: tuple[str, ...]) -> list[Gap]:
    """Gaps of all chosen methods; p values are corrected over those that see the source (and over groups of users)."""
    gaps: list[Gap] = []
    for family in (groups[:1], groups[1:]):
        rows: list[tuple[Setting, str, Setting, Measured]] = []
        for group in family:
            for setting in comparison.best:
                base = base_of(setting)
                if base and base is not setting and (measured := measure(comparison, setting, base, group)):
                    rows.append((setting, group, base, measured))
        tested = [row for row in rows if row[0].uses_source and row[3].repeats >= LEAST]
        holm = dict(zip(map(id, tested), significance.holm([row[3].paired.p for row in tested]), strict=True))
        for row in rows:
            setting, group, base, measured = row
            p, margin = holm.get(id(row), float("nan")), margin_of(comparison, base)
            word = verdict(measured, p, comparison.sign, margin) if setting.uses_source else NO_SOURCE
            gaps.append(Gap(setting.method, group, measured.paired, word, p, *measured[1:]))
    return gaps

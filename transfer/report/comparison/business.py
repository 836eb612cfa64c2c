"""What transfer changes for readers and for who sells them books: one method against the reference, measure by measure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transfer.evaluate import significance
from transfer.evaluate.significance import Paired
from transfer.report.comparison.comparison import Comparison, Setting, span
from transfer.report.comparison.per_user import Array, Sample, difference, level
from transfer.report.comparison.reference import preferred, reference

# Measures of lists by what they are called in tables, in their order; each has a k.
BEYOND = {
    "coverage": "coverage",
    "gini": "Gini",
    "popularity": "popularity",
    "popularity_lift": "popularity lift",
    "novelty": "novelty (bits)",
    "genre_diversity": "diversity of genres",
    "text_diversity": "diversity of texts",
    "serendipity": "serendipity",
    "miscalibration": "miscalibration",
    "judged": "judged in a list",
    "like_share": "likes of judged",
    "judged_auc": "AUC of judged",
    "revenue": "revenue",
    "revenue_imputed": "revenue, imputed",
    "price_ndcg": "price nDCG",
    "price_coverage": "with a price",
}
WHOLE = ("judged_auc",)  # these are of no list


class Change(NamedTuple):
    """One measure of a method and of what it is compared with, per reader, and their difference with its interval."""

    metric: str
    ours: float
    theirs: float
    paired: Paired


class Deal(NamedTuple):
    """The method that validation prefers of those that see the source, its reference, what changes, and by how much the
    figure of each reader does: gains [users × splits], positive where it is better."""

    method: Setting
    base: Setting
    changes: dict[str, Change]
    gains: Array
    repeats: int


def k_of(comparison: Comparison) -> int | None:
    """The length of the lists by which runs are selected; None where it is no ranking."""
    _, at, k = comparison.metric.partition("@")
    return int(k) if at and k.isdigit() else None


def named(name: str, comparison: Comparison) -> str:
    """A measure as a run's figures call it: hit of sampled99_ndcg@10 is sampled99_hit@10."""
    prefix, _, _ = comparison.metric.rpartition("_")  # of what is ranked where that is not everything
    whole = name if name in WHOLE else f"{name}@{k_of(comparison)}"
    return f"{prefix}_{whole}" if prefix else whole


def deal(comparison: Comparison) -> Deal | None:
    """What the preferred method that sees the source changes; None where there is none, or no values by reader."""
    carriers = [setting for setting in comparison.best if setting.uses_source]
    if comparison.members or k_of(comparison) is None or not carriers:
        return None
    method = preferred(carriers)
    base = reference(comparison, method)
    if base is None or base is method:
        return None
    ours, theirs = (comparison.tests.get(each.method, {}) for each in (method, base))
    whole = difference(comparison.metric, ours, theirs)
    if whole is None:
        return None
    found = {name: _change(comparison, named(name, comparison), method, base) for name in ("hit", "precision", *BEYOND)}
    changes = {name: change for name, change in found.items() if change}
    repeats = len(np.unique(whole.units.split))
    return Deal(method, base, changes, comparison.sign * whole.plain, repeats)


def _change(comparison: Comparison, metric: str, method: Setting, base: Setting) -> Change | None:
    ours, theirs = (comparison.tests.get(each.method, {}) for each in (method, base))
    delta, own, other = difference(metric, ours, theirs), level(metric, ours), level(metric, theirs)
    if delta is None or own is None or other is None:
        return None
    low, high = span(metric)
    paired = significance.paired(delta.linear, delta.units, delta.by_run)
    paired = significance.bounded(paired, low - high, high - low)
    if len(np.unique(delta.units.split)) < significance.LEAST:
        paired = paired._replace(low=np.nan, high=np.nan, p=np.nan)
    return Change(metric, mean(own), mean(other), paired)


def mean(sample: Sample) -> float:
    """The mean over readers, every split counting alike."""
    return float(sample.units.balanced() @ sample.linear)


def by_group(comparison: Comparison, setting: Setting, name: str, group: str) -> float | None:
    """A measure of a setting for a group of readers; None where it has no values by reader."""
    found = level(named(name, comparison), comparison.tests.get(setting.method, {}), group)
    return None if found is None else mean(found)

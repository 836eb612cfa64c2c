"""What a comparison is made of: settings, gaps to the reference, pairs of methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from transfer.config import selection
from transfer.evaluate import significance
from transfer.evaluate.significance import Paired, Summary
from transfer.report.comparison.per_user import GROUPS, Tested
from transfer.report.comparison.runs import Flat, Run

# What others are measured against: no transfer, or where no target label is known no adaptation.
REFERENCE, UNADAPTED = "target_only", "source_only"


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but seeds: `label` by swept key, finished runs, how many there were, and `best`, whether
    validation prefers it to the other settings of its method."""

    method: str
    label: dict[str, str]
    values: Flat
    runs: list[Run]
    planned: int
    best: bool = False

    @property
    def tuned(self) -> bool:
        """Whether a search chose the numbers of these runs, for every split its own."""
        return bool(self.runs and self.runs[0].tuned)

    @property
    def uses_source(self) -> bool:
        """Whether the method sees a source domain."""
        return bool(self.runs[0].result.get("uses_source", True)) and self.method.partition(" ")[0] != REFERENCE

    def summary(self, part: str, metric: str) -> Summary:
        """Mean and standard deviation over runs, and the interval that knows that seeds on one split are no new splits."""
        known = [(value, run.pair[0]) for run in self.runs if (value := run.metric(part, metric)) is not None]
        return significance.summary([value for value, _ in known], [split for _, split in known])

    @property
    def score(self) -> float:
        """The mean over runs of what is selected by, higher is better; NaN where nothing is."""
        return float(np.mean([selection.score(run.result) for run in self.runs]))

    @property
    def name(self) -> str:
        """The method and what else tells this setting from others."""
        more = [f"{key}={value}" for key, value in self.label.items() if key != "method"]
        return " ".join([self.method.partition(" ")[0], *more])

    def mean(self, values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None


class Gap(NamedTuple):
    """A method against the reference on one group of users: the difference of the test metric, its interval, the verdict
    (helps, no difference, hurts, not known), Holm's p over the methods, the basis (users, examples, runs or pairs of
    domains) and its size."""

    method: str
    group: str
    paired: Paired
    verdict: str
    holm: float
    basis: str
    size: int


class Pair(NamedTuple):
    """Two methods, each at its best setting: difference a - b, p values corrected by Holm over all pairs, effects in the
    direction of better, and the numbers of users × splits and of seeds × splits behind them."""

    a: str
    b: str
    paired: Paired
    holm: float
    wilcoxon: float
    bootstrap: float
    bootstrap_low: float
    bootstrap_high: float
    runs: Summary
    runs_wilcoxon: float
    rank_biserial: float
    cohen: float
    users: int


@dataclass(frozen=True)
class Comparison:
    """Everything measured alike: one domain, task, split and protocol; or the mean over `members`, pairs of domains."""

    title: str
    metric: str
    sign: int
    settings: list[Setting]
    runs: list[Run]
    gaps: list[Gap] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    members: list[Comparison] = field(default_factory=list)
    tests: dict[str, dict[tuple[str, int], Tested]] = field(default_factory=dict)  # by chosen setting, world and seed

    @property
    def part(self) -> str:
        """What the figures are of: `test`, or `valid` where no run was scored on the test part (a search)."""
        return "test" if any("test" in run.result["metrics"] for run in self.runs if run.done) else "valid"

    @property
    def part_name(self) -> str:
        return "test" if self.part == "test" else "validation"

    @property
    def unit(self) -> str:
        """What has a row in the tables of test values."""
        return "examples" if self.facts["task"] == "classification" else "users"

    @property
    def best(self) -> list[Setting]:
        """The chosen setting of every method, the best mean first."""
        chosen = [setting for setting in self.settings if setting.best]
        return sorted(chosen, key=lambda setting: -self.sign * setting.summary(self.part, self.metric).mean)

    @property
    def facts(self) -> dict[str, Any]:
        """result.json of one finished run: what all of them share."""
        return next(run.result for run in self.runs if run.done and self.part in run.result["metrics"])

    def gap(self, method: str, group: str = "all") -> Gap | None:
        return next((gap for gap in self.gaps if gap.method == method and gap.group == group), None)


def reference(comparison: Comparison, peer: Setting | None = None) -> Setting | None:
    """The chosen setting of target_only, or else of source_only.

    peer: the setting that is measured against it; variants with the same model come first.
    """
    return chosen_of(comparison, REFERENCE, peer) or chosen_of(comparison, UNADAPTED, peer)


def chosen_of(comparison: Comparison, method: str, peer: Setting | None = None) -> Setting | None:
    """The chosen setting of a method; of several variants those with the peer's model, then the one selection prefers."""
    rows = [setting for setting in comparison.best if setting.method.partition(" ")[0] == method]
    if not rows:
        return None
    rows = [setting for setting in rows if setting.values.get("method.guard") in (None, "none")] or rows
    model = peer and peer.values.get("model.name")
    rows = [setting for setting in rows if setting.values.get("model.name") == model] or rows
    scores = [setting.score for setting in rows]
    return rows[int(np.nanargmax(scores))] if np.isfinite(scores).any() else rows[0]


def reference_name(comparison: Comparison) -> str:
    """What the gaps of a comparison are gaps to."""
    base = reference(comparison)
    return base.method.partition(" ")[0] if base else REFERENCE


def count(setting: Setting) -> str:
    """Finished runs, and of how many."""
    return f"{len(setting.runs)}" + (f" of {setting.planned}" if len(setting.runs) < setting.planned else "")


def shown(select: str) -> list[str]:
    """The selected metric and those that people read beside it."""
    if "@" not in select:
        return list(dict.fromkeys([select, "rmse", "mae", "accuracy", "macro_f1"]))
    k = select.rpartition("@")[2]
    prefix = f"{select.partition('_')[0]}_" if select.startswith("sampled") else ""
    return list(dict.fromkeys([select, *(f"{prefix}{name}@{k}" for name in ("ndcg", "recall", "hit"))]))


def groups_of(comparison: Comparison) -> list[str]:
    """All users, and the groups among them where there is more than one."""
    present = {gap.group for gap in comparison.gaps}
    return [group for group in GROUPS if group in present and (group == "all" or len(present) > 2)]

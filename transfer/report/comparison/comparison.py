"""What a comparison is made of: settings, gaps to the reference, pairs of methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from transfer.config import selection
from transfer.evaluate import significance
from transfer.evaluate.significance import Paired, Summary
from transfer.report.comparison.per_user import GROUPS, Tested
from transfer.report.comparison.runs import Flat, Run

RATES = (  # in [0, 1]
    *("accuracy", "f1", "auc", "error", "coverage", "ndcg", "recall", "hit", "mrr", "map", "precision"),
    *("share", "serendipity", "gini"),
)
ERRORS = ("rmse", "mae", "mse", "loss")  # 0 or more


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
        return bool(self.runs[0].result.get("uses_source", True))

    def summary(self, part: str, metric: str) -> Summary:
        """Mean and standard deviation over runs, and the interval over splits: seeds on one split are no new splits."""
        known = [(value, run.pair[0]) for run in self.runs if (value := run.metric(part, metric)) is not None]
        summary = significance.summary([value for value, _ in known], [split for _, split in known])
        low, high = span(metric)
        return (
            summary._replace(low=max(summary.low, low), high=min(summary.high, high))
            if summary.low == summary.low
            else summary
        )

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
    """A method against another on one group of users: the difference of the test metric, its interval, the verdict, Holm's
    p over the methods that see the source, what the interval is over (users, examples, splits or pairs of domains) and how
    many, and `repeats`, the splits (or pairs) among which it knows of differences."""

    method: str
    group: str
    paired: Paired
    verdict: str
    holm: float
    basis: str
    size: int
    repeats: int


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
    gaps: list[Gap] = field(default_factory=list)  # to the reference
    target_gaps: list[Gap] = field(default_factory=list)  # to target_only, the same model without the source
    pairs: list[Pair] = field(default_factory=list)
    members: list[Comparison] = field(default_factory=list)
    tests: dict[str, dict[tuple[str, int], Tested]] = field(default_factory=dict)  # by chosen setting, world and seed
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # of the chosen settings' test figures

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
        return "examples" if self.facts["task"] in ("classification", "regression") else "users"

    @cached_property
    def best(self) -> list[Setting]:
        """The chosen setting of every method, in the order in which validation prefers them: those with most finished runs
        first; by the mean test figure where nothing was held out."""
        chosen = [setting for setting in self.settings if setting.best]
        most = max((len(setting.runs) for setting in chosen), default=0)

        def order(setting: Setting) -> tuple[bool, float, float]:
            score = setting.score if np.isfinite(setting.score) else -np.inf
            return len(setting.runs) < most, -score, -self.sign * setting.summary(self.part, self.metric).mean

        return sorted(chosen, key=order)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """result.json of one finished run: what all of them share."""
        return next(run.result for run in self.runs if run.done and self.part in run.result["metrics"])

    def gap(self, method: str, group: str = "all") -> Gap | None:
        return next((gap for gap in self.gaps if gap.method == method and gap.group == group), None)

    def target_gap(self, method: str) -> Gap | None:
        return next((gap for gap in self.target_gaps if gap.method == method), None)

    def summary(self, setting: Setting) -> Summary:
        """A setting's figure: mean and standard deviation over runs; of a chosen one the interval knows of users, too."""
        summary = setting.summary(self.part, self.metric)
        low, high = self.intervals.get(setting.method, (summary.low, summary.high)) if setting.best else summary[3:]
        return summary._replace(low=low, high=high)

    @property
    def repeats(self) -> int:
        """How many splits there are (of a mean over pairs of domains: how many pairs)."""
        return len(self.members) or len({run.pair[0] for setting in self.best for run in setting.runs})


def span(metric: str) -> tuple[float, float]:
    """The range of a metric's values."""
    name = metric.partition("@")[0].rpartition("_")[2]
    return (0.0, 1.0) if name in RATES else (0.0, np.inf) if name in ERRORS else (-np.inf, np.inf)


def by_pair(method: str, comparison: Comparison) -> list[float]:
    """The mean test figure of a method in every pair of a mean over pairs of domains."""
    chosen = [next(setting for setting in member.best if setting.method == method) for member in comparison.members]
    return [setting.summary(comparison.part, comparison.metric).mean for setting in chosen]


def count(setting: Setting) -> str:
    """Finished runs, and of how many."""
    return f"{len(setting.runs)}" + (f" of {setting.planned}" if len(setting.runs) < setting.planned else "")


def shown(select: str) -> list[str]:
    """The selected metric and those that people read beside it."""
    if "@" not in select:
        return list(dict.fromkeys([select, "rmse", "mae", "accuracy", "macro_f1"]))
    k = select.rpartition("@")[2]
    prefix = f"{select.partition('_')[0]}_" if "_" in select else ""  # of what is ranked where that is not everything
    return list(dict.fromkeys([select, *(f"{prefix}{name}@{k}" for name in ("ndcg", "recall", "hit"))]))


def groups_of(comparison: Comparison) -> list[str]:
    """All users, and the groups among them where there is more than one."""
    present = {gap.group for gap in comparison.gaps}
    return [group for group in GROUPS if group in present and (group == "all" or len(present) > 2)]

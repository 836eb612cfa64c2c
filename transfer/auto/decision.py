"""Whether to transfer and with what, from the validation values of every reader over all folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from transfer.config import selection
from transfer.evaluate.significance import LEVEL, Units, paired
from transfer.report.comparison.per_user import Tests, difference, read_tested
from transfer.report.comparison.runs import Run


def name(words: Sequence[str]) -> str:
    """What a candidate is called: its method, then its other overrides."""
    return " ".join(word.removeprefix("method=") for word in words)


class Candidate(NamedTuple):
    """A method with its overrides and its finished runs, one for each fold; file: the table of values by reader."""

    words: tuple[str, ...]
    runs: list[Run]
    file: str

    @property
    def name(self) -> str:
        return name(self.words)

    @property
    def uses_source(self) -> bool:
        return bool(self.runs[0].result["uses_source"])

    @property
    def score(self) -> float:
        """The mean over folds of what is selected by, higher is better."""
        return float(np.mean([selection.score(run.result) for run in self.runs]))

    @property
    def seconds(self) -> float:
        """What training and evaluation took, over all folds, without compilation."""
        return sum(run.seconds or 0.0 for run in self.runs)

    def tests(self) -> Tests:
        """Values by reader, of every fold that has them."""
        return {run.pair: table for run in self.runs if (table := read_tested(run, self.file))}


class Gain(NamedTuple):
    """What a candidate brings a reader over the reference, positive is better: mean, standard error, the bounds that a
    choice among several needs (Bonferroni), and the shares of readers who gain and who lose; NaN where unknown."""

    mean: float
    error: float
    low: float
    high: float
    gain: float
    lose: float


class Decision(NamedTuple):
    """The chosen candidate, the best one without a source, and the gain of each that sees one, by name."""

    chosen: Candidate
    reference: Candidate
    gains: dict[str, Gain]


def decide(candidates: list[Candidate]) -> Decision:
    """Transfer where the corrected lower bound of a gain is above zero; else the best candidate without a source.

    Of the candidates that are surely better the one with the largest lower bound leads; the fastest of those within one
    standard error of it is chosen. There has to be a candidate without a source.
    """
    reference = max((one for one in candidates if not one.uses_source), key=lambda one: one.score)
    rivals = [one for one in candidates if one.uses_source]
    gains = {one.name: gain(one, reference, len(rivals)) for one in rivals}
    better = [one for one in rivals if gains[one.name].low > 0]
    if not better:
        return Decision(reference, reference, gains)
    first = gains[max(better, key=lambda one: gains[one.name].low).name]
    close = [one for one in better if gains[one.name].mean >= first.mean - first.error]
    return Decision(min(close, key=lambda one: one.seconds), reference, gains)


def gain(ours: Candidate, theirs: Candidate, count: int) -> Gain:
    """What `ours` brings over `theirs`, with the bounds of one of `count` comparisons.

    Folds are parts of one draw of the data and not draws of their own: all readers count as those of one split.
    """
    how = ours.runs[0].result["select"]
    sample = difference(how["metric"], ours.tests(), theirs.tests())
    if sample is None:
        return Gain(*(math.nan,) * 6)
    units = Units(np.zeros_like(sample.units.split), sample.units.user, sample.units.balanced())
    found = paired(how["sign"] * sample.linear, units)
    half = float(stats.t.ppf(1 - (1 - LEVEL) / 2 / max(count, 1), found.freedom)) * found.error
    plain = how["sign"] * sample.plain
    shares = (float(units.weight @ of) for of in ((plain > 0).astype(float), (plain < 0).astype(float)))
    return Gain(found.difference, found.error, found.difference - half, found.difference + half, *shares)

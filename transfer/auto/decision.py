"""Whether to transfer and with what, from the validation values of every reader over all folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transfer.config import selection
from transfer.evaluate.significance import Units, by_user, paired, simultaneous
from transfer.report.comparison.per_user import Array, Sample, Tests, column_of, difference, linearised, read_tested
from transfer.report.comparison.runs import Run


def name(words: Sequence[str]) -> str:
    """What a candidate is called: its method, then its other overrides."""
    return " ".join(word.removeprefix("method=") for word in words)


class Candidate(NamedTuple):
    """A method with its overrides and its finished runs, one for each fold; file: the table of values by reader.

    called: its name, where that is not its words. nested: of an ensemble, whose runs are those of all its members, the
    values by reader.
    """

    words: tuple[str, ...]
    runs: list[Run]
    file: str
    called: str = ""
    nested: Tests | None = None

    @property
    def name(self) -> str:
        return self.called or name(self.words)

    @property
    def uses_source(self) -> bool:
        return any(run.result["uses_source"] for run in self.runs)

    @property
    def of_examples(self) -> bool:
        return bool(self.runs[0].result["task"] in ("classification", "regression"))

    @property
    def score(self) -> float:
        """The mean over folds of what is selected by, higher is better."""
        if self.nested is None:
            return float(np.mean([selection.score(run.result) for run in self.runs]))
        how = self.runs[0].result["select"]
        column = column_of(how["metric"])
        parts = [linearised(how["metric"], of.values[column], of.events) for of in self.nested.values()]
        return how["sign"] * float(np.mean([weight @ value for value, weight in parts]))

    @property
    def seconds(self) -> float:
        """What training and evaluation took, over all folds, without compilation."""
        return sum(run.seconds or 0.0 for run in self.runs)

    def tests(self) -> Tests:
        """Values by reader, of every fold that has them."""
        if self.nested is not None:
            return self.nested
        return {run.pair: table for run in self.runs if (table := read_tested(run, self.file))}


class Gain(NamedTuple):
    """What a candidate brings a reader over the reference, positive is better: mean, standard error, the bounds that a
    choice among several needs, and the shares of readers who gain and who lose; NaN where unknown."""

    mean: float
    error: float
    low: float
    high: float
    gain: float
    lose: float


class Mixed(NamedTuple):
    """A mixture of candidates, an ensemble or a gate, the best single candidate and what it brings over that."""

    candidate: Candidate
    best: Candidate
    gain: Gain


class Decision(NamedTuple):
    """The chosen candidate, the best one without a source, the gain of each that sees one, by name, and the mixtures."""

    chosen: Candidate
    reference: Candidate
    gains: dict[str, Gain]
    mixtures: tuple[Mixed, ...] = ()


def decide(candidates: list[Candidate], mixtures: Sequence[Candidate] = ()) -> Decision:
    """Transfer where the corrected lower bound of a gain is above zero; else the best candidate without a source.

    Of all candidates and mixtures that are surely better the one with the highest mean over folds is chosen, the first of
    equals. A mixture without a source is as sure as that only where it is surely better than the best of all candidates.
    There has to be a candidate without a source.
    """
    reference = max((one for one in candidates if not one.uses_source), key=lambda one: one.score)
    rivals = [one for one in (*candidates, *mixtures) if one.uses_source]
    of = dict(zip((one.name for one in rivals), gains(rivals, reference), strict=True))
    best = max(candidates, key=lambda one: one.score)
    mixed = tuple(Mixed(one, best, gain) for one, gain in zip(mixtures, gains(mixtures, best), strict=True))
    sure = [one for one in rivals if of[one.name].low > 0]
    sure += [one.candidate for one in mixed if not one.candidate.uses_source and one.gain.low > 0]
    return Decision(max(sure, key=lambda one: one.score, default=reference), reference, of, mixed)


def contenders(candidates: list[Candidate]) -> list[Candidate]:
    """Of whom more should be known before it is decided: the best without a source and the best with one, where that has
    a higher mean."""
    without, seeing = ([one for one in candidates if one.uses_source is sees] for sees in (False, True))
    best = [max(some, key=lambda one: one.score) for some in (without, seeing) if some]
    return best if len(best) == 2 and best[1].score > best[0].score else []


def without_labels(candidates: list[Candidate]) -> Decision:
    """Where the target has no labels: the candidate that its runs' `select` prefers; the reference is source_only, not
    adapted, if it was tried, else the first. What any brings is not known."""
    chosen = max(candidates, key=lambda one: one.score)
    return Decision(chosen, next((one for one in candidates if "method=source_only" in one.words), candidates[0]), {})


def gain(ours: Candidate, theirs: Candidate) -> Gain:
    """What `ours` brings over `theirs`, a comparison that was made once."""
    return gains([ours], theirs)[0]


def gains(rivals: Sequence[Candidate], reference: Candidate) -> list[Gain]:
    """What each rival brings over the reference, with bounds that hold for all of them at once.

    Folds are parts of one draw of the data and not draws of their own: all readers count as those of one split, and a
    labelled example that divisions hid again and again as one.
    """
    samples = [_compared(one, reference) for one in rivals]
    known = [(sample.linear, sample.units) for sample in samples if sample]
    tests = [paired(*one) for one in known]
    limit = simultaneous(by_user(known), min(one.freedom for one in tests)) if known else math.nan
    bounds = iter([(one.difference, one.error, limit * one.error) for one in tests])
    return [_gain(sample.plain, sample.units, *next(bounds)) if sample else Gain(*(math.nan,) * 6) for sample in samples]


def _gain(plain: Array, units: Units, mean: float, error: float, half: float) -> Gain:
    shares = (float(units.weight @ of) for of in ((plain > 0).astype(float), (plain < 0).astype(float)))
    return Gain(mean, error, mean - half, mean + half, *shares)


def _compared(ours: Candidate, theirs: Candidate) -> Sample | None:
    """Differences by reader, higher is better, all of one split; None where no reader was seen by both."""
    how = ours.runs[0].result["select"]
    sample = difference(how["metric"], ours.tests(), theirs.tests())
    if sample is None:
        return None
    units = Units(np.zeros_like(sample.units.split), sample.units.user, sample.units.balanced())
    return sample._replace(linear=how["sign"] * sample.linear, plain=how["sign"] * sample.plain, units=units)

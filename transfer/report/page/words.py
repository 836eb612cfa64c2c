"""What a comparison says, in plain words and honest numbers."""

from __future__ import annotations

import numpy as np

from transfer.config import selection
from transfer.evaluate.significance import LEAST, Paired
from transfer.report.comparison.comparison import Comparison, Gap, Pair
from transfer.report.comparison.reference import TARGET_ONLY, reference, reference_words, without_adaptation
from transfer.report.comparison.runs import Run
from transfer.report.comparison.verdicts import (
    HELPS,
    HURTS,
    MARGIN,
    NO_SOURCE,
    NOT_SHOWN,
    NOT_TESTED,
    PAIRS,
    SAME,
    Measured,
)

MEANING = {
    "ndcg": "how high the hidden items stand in each user's list of {k} (1 is perfect)",
    "recall": "the share of a user's hidden items among the first {k}",
    "hit": "the share of users with a hidden item among the first {k}",
    "mrr": "one over the place of the first hidden item among {k}",
    "map": "the precision at every hidden item among the first {k}, on average",
    "precision": "the share of hidden items among the first {k}",
    "rmse": "the root of the mean squared error of {what}",
    "accuracy": "the share of examples whose class is right",
    "f1": "the harmonic mean of precision and recall of each class, on average",
    "mae": "the mean absolute error of {what}",
}


def number(value: float | None, sign: str = "", places: int = 4) -> str:
    """Four decimals, or so many, with a true minus; a dash for what is unknown."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:{sign}.{places}f}".replace("-", "−")


def between(low: float, high: float, sign: str = "") -> str:
    return "–" if not np.isfinite(low) else f"{number(low, sign)} to {number(high, sign)}"


def chance(p: float) -> str:
    """A p value: three decimals, or below 0.001."""
    return "–" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def meaning(metric: str, task: str) -> str:
    """What a metric of a task counts, in a clause; empty for one that is not known here."""
    name, _, k = metric.rpartition("_")[2].partition("@")
    of_examples = task == "regression"
    what = "predicted numbers, in their own unit" if of_examples else "predicted ratings, in points of the rating scale"
    return MEANING.get(name, "").format(k=k, what=what)


def pair_of(comparison: Comparison, a: str, b: str) -> tuple[Pair, int] | None:
    """The pair of two methods, and 1 or -1 where it is stored the other way round."""
    for pair in comparison.pairs:
        if (pair.a, pair.b) in ((a, b), (b, a)):
            return pair, 1 if pair.a == a else -1
    return None


def lead(comparison: Comparison) -> list[str]:
    """Which method validation chose and its test figure, whether the next is really behind, whether the source helps."""
    ranked, metric = comparison.best, comparison.metric
    first = ranked[0]
    direction = "higher" if comparison.sign > 0 else "lower"
    summary, valid = (first.summary(part, metric) for part in (comparison.part, "valid"))
    over = f"mean of {summary.n} runs" if summary.n > 1 else "one run"
    over = (
        f"mean over {len(comparison.members)} pairs of domains, {'once' if summary.n == 1 else f'{summary.n} times'}"
        if comparison.members
        else over
    )
    clause = meaning(metric, comparison.facts["task"])
    explained = f" {metric} is {clause}; {direction} is better." if clause else f" {direction} is better."
    chosen = np.isfinite(first.score)
    place = f"{first.method} is the choice of validation among {len(ranked)} methods"
    tested = [setting for setting in ranked if np.isfinite(setting.summary(comparison.part, metric).mean)]
    why = "Only what was chosen was tested" if np.isfinite(valid.mean) else "Nothing was held out to choose by"
    place = place if chosen else f"{why}; {first.method} comes out first of {len(tested)} methods"
    place = place if len(ranked) > 1 else f"{first.method} is the only method here"
    beside = f", {number(valid.mean)} on validation" if comparison.part == "test" and np.isfinite(valid.mean) else ""
    sentences = [f"{place}: its {comparison.part_name} {metric} is {number(summary.mean)} ({over}{beside}).{explained}"]
    if len(ranked) > 1:
        sentences += [_second(comparison, first.method, ranked[1].method), _highest(comparison) if chosen else ""]
    sentences.append(_source(comparison))
    if comparison.facts["select"].get("by") == selection.ORACLE:
        sentences.insert(0, "These figures are not honest: select=oracle chose settings by the labels of the test part.")
    return [sentence for sentence in sentences if sentence]


def _highest(comparison: Comparison) -> str:
    """Who is first on the test, where it is not the choice."""
    means = {setting.method: setting.summary(comparison.part, comparison.metric).mean for setting in comparison.best}
    top = max(means, key=lambda method: comparison.sign * means[method])
    if means[top] == means[comparison.best[0].method] or comparison.part != "test":
        return ""
    return f"On the test {top} comes out first with {number(means[top])}, which nobody could have chosen by."


def _second(comparison: Comparison, first: str, second: str) -> str:
    pair = pair_of(comparison, first, second)
    means = [setting.summary(comparison.part, comparison.metric).mean for setting in comparison.best[:2]]
    margin = comparison.sign * (pair[0].paired.difference * pair[1] if pair else means[0] - means[1])
    place = "behind" if margin >= 0 else f"ahead on the {comparison.part_name} part"
    far = f"Next is {second}, {number(abs(margin))} {place}"
    if comparison.members:
        return f"{far}."
    if pair is None:
        return f"Next is {second}; there are no values by {comparison.unit.removesuffix('s')} to test the difference with."
    tested = pair[0]
    if comparison.repeats < LEAST:
        return f"{far}; fewer than three splits cannot tell whether that is chance."
    over = f"{tested.users:,} {comparison.unit}" + ("" if tested.runs.n < 2 else f" and {tested.runs.n} runs of each")
    if not np.isfinite(tested.holm):
        return f"{far}; there are too few {comparison.unit} to say whether that is chance."
    p = chance(tested.holm)
    many = f" after correction for {len(comparison.pairs)} comparisons" if len(comparison.pairs) > 1 else ""
    basis = f"p {p if p[0] == '<' else f'= {p}'}{many}, {over}"
    if tested.holm < 0.05:
        return f"{far}, and the difference is real ({basis})."
    return f"{far}: no more than chance can explain ({basis})."


def _source(comparison: Comparison) -> str:
    base = reference(comparison)
    if base is None:
        return f"Whether the source helps cannot be said: the sweep has no method without it, such as {TARGET_ONLY}."
    adapting = without_adaptation(comparison)
    what, own = ("Adaptation", "adapts") if adapting else ("The source", "uses it")
    who = "that adapt" if adapting else "that use the source"
    gaps = [gap for gap in comparison.gaps if gap.group == "all" and gap.verdict != NO_SOURCE]
    if not gaps:
        return (
            f"Whether {what.lower()} helps cannot be said: no method that {own} shares world and seed with {base.method}."
        )
    against = f"The reference is {reference_words(comparison)}."
    best = max(gaps, key=lambda gap: comparison.sign * gap.paired.difference)
    words = {word: sum(gap.verdict == word for gap in gaps) for word in _COUNTED}
    if best.verdict == NOT_TESTED:
        far = f"{best.method} is {_gain(best.paired, comparison)} better than it"
        return f"{against} {spoken_repeats(best)}: not tested. {what} brings most with {best.method}: {far}."
    if words[HELPS]:
        best = max((gap for gap in gaps if gap.verdict == HELPS), key=lambda gap: comparison.sign * gap.paired.difference)
        opening = f"{what} helps: {best.method} is {_gain(best.paired, comparison)} better than {base.method}"
    elif words[HURTS] == len(gaps):
        opening = f"{what} hurts: every method that {own} is worse than {base.method}"
    else:
        opening = f"{what} does not show its use: no method that {own} is better than {base.method} beyond chance"
    counts = ", ".join(f"{count} {_COUNTED[word]}" for word, count in words.items() if count)
    return f"{against} {opening}. Of {len(gaps)} {who}, {counts} ({_behind(best)}; p corrected for {len(gaps)} methods)."


def spoken_repeats(gap: Gap | Measured) -> str:
    """`One split`, `two pairs of domains`: what there are too few of for a verdict."""
    unit = "pair of domains" if gap.basis == PAIRS else "split"
    count = {1: f"One {unit}", 2: f"Two {unit.replace('pair', 'pairs') if gap.basis == PAIRS else 'splits'}"}
    return count.get(gap.repeats, f"No interval over {gap.repeats} splits")


_COUNTED = {
    HELPS: "do better than it",
    SAME: f"differ by less than {MARGIN:.0%} of its figure",
    NOT_SHOWN: "show no difference and may have one",
    HURTS: "do worse",
    NOT_TESTED: "cannot be tested",
}


def _gain(paired: Paired, comparison: Comparison) -> str:
    low, high = sorted((comparison.sign * paired.low, comparison.sign * paired.high))
    return f"{number(comparison.sign * paired.difference)} (95 % interval {between(low, high)})"


def _behind(gap: Gap) -> str:
    return f"paired over {gap.size:,} {gap.basis}" + (" × splits" if gap.basis in ("users", "examples") else "")


def outcome(runs: list[Run]) -> str:
    """How the runs ended: `36 runs: 35 done, 1 failed`."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.status] = counts.get(run.status, 0) + 1
    return f"{len(runs):,} runs: " + ", ".join(f"{count:,} {status}" for status, count in counts.items())

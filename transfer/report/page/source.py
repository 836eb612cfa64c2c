"""Does the source help? Gains over the reference, target_only and source_only, by seed or class, and whom it harms."""

from __future__ import annotations

import numpy as np

from transfer.evaluate.significance import Paired
from transfer.report.comparison.comparison import Comparison, Setting
from transfer.report.comparison.effects import Effect, effects, parts, whole
from transfer.report.comparison.reference import (
    SOURCE_ONLY,
    TARGET_ONLY,
    Base,
    bases,
    reference_name,
    without_adaptation,
)
from transfer.report.comparison.verdicts import HELPS, HURTS, MARGIN, NOT_SHOWN, NOT_TESTED, SAME
from transfer.report.page import distances
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import between, number, spoken_repeats

SEEDS = 24  # columns of the table by seed, at most
_COUNTED = {
    HELPS: "gain from it",
    HURTS: "lose by it",
    SAME: f"differ by less than {MARGIN:.0%} of the reference's figure",
    NOT_SHOWN: "show no difference and may have one",
    NOT_TESTED: "cannot be tested",
}
WHO = {"cold": "cold users", "sparse": "sparse users", "warm": "warm users"}


def sentences(comparison: Comparison) -> list[str]:
    """The answer for people who do not know the field: what was asked, what came out, for whom, and how sure that is."""
    gains = effects(comparison, _base(comparison))
    if not gains:
        return []
    adapting = without_adaptation(comparison)
    best = max(gains, key=lambda effect: (effect.verdict == HELPS, effect.paired.difference))
    what, source = (
        ("adaptation", "a model of the source as it is") if adapting else ("the source", "the best that has not seen it")
    )
    answer = {
        HELPS: f"Yes, with {best.setting.method}.",
        HURTS: f"No: {what} makes it worse.",
        SAME: f"No: {what} changes less than {MARGIN:.0%} of the figure.",
        NOT_SHOWN: f"Not that these runs could show: what {what} changes is within what chance explains.",
        NOT_TESTED: f"{spoken_repeats(best.measured)}: not tested; {best.setting.method} comes out highest.",
    }[best.verdict]
    gain, direction = best.paired.difference, "better" if best.paired.difference > 0 else "worse"
    interval = f" (95 % interval of the gain: {between(best.paired.low, best.paired.high, '+')})"
    asked = "No label of the target is known, so the question is whether adaptation helps. " if adapting else ""
    answers = [
        f"{asked}{answer} In {comparison.metric} {best.setting.method} is {number(abs(gain))} {direction} than "
        f"{reference_name(comparison)}, {source}" + (f"{interval}." if np.isfinite(best.paired.low) else ".")
    ]
    if best.worse is not None and best.better is not None:
        same = 1 - best.worse - best.better
        rest = f", for {same:.0%} nothing changes" if same > 0.005 else ""
        shares = f"{best.better:.0%} of the {whole(comparison)} and worse for {best.worse:.0%}{rest}"
        answers.append(f"It is better for {shares}.")
    if len(best.runs) > 1:
        ahead = sum(value > 0 for value in best.runs.values())
        answers[-1] += f" {ahead} of {len(best.runs)} runs (seeds × splits) gained."
    sure = {word: [effect for effect in gains if effect.verdict == word] for word in _COUNTED}
    if len(gains) > 1:
        counts = ", ".join(f"{len(rows)} {_COUNTED[word]}" for word, rows in sure.items() if rows)
        answers.append(f"Of {len(gains)} methods that {'adapt' if adapting else 'see the source'}, {counts}.")
    if harmful := sure[HURTS]:
        names = ", ".join(effect.setting.method for effect in harmful[:4])
        remedy = "the source does harm. method.guard=gate falls back where it does."
        remedy = f"adaptation does harm; {SOURCE_ONLY}, the source's model as it is, does better." if adapting else remedy
        answers.append(f"Beware of {names}: here {remedy}")
    return [*answers, *_apart(comparison)]


def _base(comparison: Comparison) -> Base:
    return next(iter(bases(comparison).values()))


def _apart(comparison: Comparison) -> list[str]:
    """How unlike the domains are, in words, where it was measured."""
    tables = [measured["before"] for setting in comparison.best if (measured := distances.distances(setting))]
    if not tables:
        return []
    proxy, mmd = (float(np.mean([table[key] for table in tables])) for key in ("proxy_a", "mmd"))
    how = "hard" if proxy < 0.5 else "fairly easy" if proxy < 1.5 else "very easy"
    sentence = f"Source and target are {how} to tell apart (proxy A-distance {proxy:.2f} of 2, MMD² {mmd:.3g})"
    shifts = [
        shift
        for setting in comparison.best
        for run in setting.runs
        if (shift := run.result.get("shift", {}).get("labels")) is not None
    ]
    if shifts:
        sentence += f"; the classes' shares differ by an estimated {np.mean(shifts):.0%}"
    return [sentence + "."]


def table(comparison: Comparison) -> Leaderboard | None:
    """Gain over the reference, target_only and source_only of every method that sees the source, and whom it harms."""
    measured = {name: effects(comparison, base_of) for name, base_of in bases(comparison).items()}
    both = {name: {effect.setting.method: effect for effect in rows} for name, rows in measured.items() if rows}
    order = [setting for setting in comparison.best if any(setting.method in rows for rows in both.values())]
    if not order:
        return None
    heads, first = ["method"], next(iter(both))
    for name in both:
        heads += [f"gain over {name}", "95 % interval", "verdict"]
    groups = [group for group in parts(comparison) if comparison.unit == "users"]
    heads += [f"gain, {WHO[group]}" for group in groups]
    heads += [f"{whole(comparison)} worse", f"{whole(comparison)} better", "runs ahead"]
    guarded = any(setting.runs[0].result.get("guard") for setting in order)
    heads += ["share of the source (guard)"] if guarded else []
    rows = []
    for setting in order:
        row = [Cell(setting.method)]
        for rows_of in both.values():
            row += _gain(rows_of.get(setting.method))
        effect = both[first].get(setting.method)
        row += [_number(effect.groups[group].difference if effect and group in effect.groups else None) for group in groups]
        row += [_share(effect and effect.worse), _share(effect and effect.better), _ahead(effect)]
        rows.append(row + ([_guard(setting)] if guarded else []))
    return Leaderboard(heads, rows, order)


def by_seed(comparison: Comparison) -> Leaderboard | None:
    """The gain of every method on every split and seed."""
    name = reference_name(comparison)
    rows = [effect for effect in effects(comparison, _base(comparison)) if len(effect.runs) > 1]
    if not rows:
        return None
    runs = list(dict.fromkeys(run for effect in rows for run in effect.runs))[:SEEDS]
    cells = [[Cell(effect.setting.method), *(_number(effect.runs.get(run)) for run in runs)] for effect in rows]
    return Leaderboard([f"gain over {name}", *runs], cells, [effect.setting for effect in rows])


def by_class(comparison: Comparison) -> Leaderboard | None:
    """The gain of every method in every class, with its interval; None for users."""
    if comparison.unit != "examples":
        return None
    name = reference_name(comparison)
    rows = [effect for effect in effects(comparison, _base(comparison)) if effect.groups]
    if not rows:
        return None
    classes = comparison.facts["world"]["classes"]
    heads = [f"gain over {name}", *map(str, classes)]
    cells = [
        [Cell(effect.setting.method), *(_interval(effect.groups.get(f"class {i}")) for i in range(len(classes)))]
        for effect in rows
    ]
    return Leaderboard(heads, cells, [effect.setting for effect in rows])


def _gain(effect: Effect | None) -> list[Cell]:
    if effect is None:
        return [Cell("–")] * 3
    low, high = effect.paired.low, effect.paired.high
    return [_number(effect.paired.difference), Cell(between(low, high, "+"), low), Cell(effect.verdict)]


def _number(value: float | None) -> Cell:
    return Cell(number(value, "+"), value)


def _interval(paired: Paired | None) -> Cell:
    if paired is None:
        return Cell("–")
    sure = f" ({between(paired.low, paired.high, '+')})" if np.isfinite(paired.low) else ""
    return Cell(number(paired.difference, "+") + sure, paired.difference)


def _share(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:.0%}", value)


def _ahead(effect: Effect | None) -> Cell:
    if effect is None or not effect.runs:
        return Cell("–")
    ahead = sum(value > 0 for value in effect.runs.values())
    return Cell(f"{ahead} of {len(effect.runs)}", ahead / len(effect.runs))


def _guard(setting: Setting) -> Cell:
    shares = [1 - run.result["guard"]["weights"].get(TARGET_ONLY, 0) for run in setting.runs if run.result.get("guard")]
    return _share(float(np.mean(shares)) if shares else None)

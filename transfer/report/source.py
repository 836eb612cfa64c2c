"""Does the source help? Gains over target_only and source_only, by seed, by group of users or class, and whom it harms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transfer.evaluate import significance
from transfer.evaluate.significance import Paired
from transfer.report import apart
from transfer.report.average import PAIRS, by_pair
from transfer.report.compare import by_runs, by_users, of_summary, verdict
from transfer.report.comparison import REFERENCE, UNADAPTED, Comparison, Setting, chosen_of
from transfer.report.tables import Cell, Leaderboard, groups_of
from transfer.report.values import difference
from transfer.report.words import between, number

LITTLE = 1e-3  # a change by less is none: among many tied items the expected figure of a list is a little above zero
SEEDS = 24  # columns of the table by seed, at most
MEANING = {
    REFERENCE: "the same kind of model that has never seen the source",
    UNADAPTED: "a model of the source as it is",
}
_COUNTED = {"helps": "gain from it", "hurts": "lose by it", "no difference": "show no difference"}
WHO = {"cold": "cold users", "sparse": "sparse users", "warm": "warm users"}


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


def sentences(found: Comparison) -> list[str]:
    """The answer for people who do not know the field: what was asked, what came out, for whom, and how sure that is."""
    name = REFERENCE if chosen_of(found, REFERENCE) else UNADAPTED
    told = effects(found, name)
    if not told:
        return []
    best, what = max(told, key=lambda of: of.paired.difference), "the source" if name == REFERENCE else "adaptation"
    sure = {verdict: [of for of in told if of.verdict == verdict] for verdict in _COUNTED}
    answer = {
        "helps": f"Yes, with {best.one.method}.",
        "hurts": f"No: {what} makes it worse.",
        "no difference": f"Not that these runs could show: {what} makes no difference beyond chance.",
    }.get(best.verdict, f"There are too few runs to say; {best.one.method} comes closest.")
    gain, direction = best.paired.difference, "better" if best.paired.difference > 0 else "worse"
    interval = f" (95 % interval of the gain: {between(best.paired.low, best.paired.high, '+')})"
    asked = "" if name == REFERENCE else "No label of the target is known, so the question is whether adaptation helps. "
    said = [
        f"{asked}{answer} In {found.metric} {best.one.method} is {number(abs(gain))} {direction} than {name}, "
        + MEANING[name]
        + (f"{interval}." if np.isfinite(best.paired.low) else ".")
    ]
    if best.worse is not None and best.better is not None:
        same = 1 - best.worse - best.better
        rest = f", for {same:.0%} nothing changes" if same > 0.005 else ""
        said.append(f"It is better for {best.better:.0%} of the {whole(found)} and worse for {best.worse:.0%}{rest}.")
    if len(best.runs) > 1:
        ahead = sum(value > 0 for value in best.runs.values())
        said[-1] += f" {ahead} of {len(best.runs)} runs (seeds × splits) gained."
    if len(told) > 1:
        counts = [f"{len(rows)} {_COUNTED[verdict]}" for verdict, rows in sure.items() if rows]
        said.append(f"Of {len(told)} methods that see the source, {', '.join(counts) or 'none can be judged'}.")
    if harmful := sure["hurts"]:
        names = ", ".join(of.one.method for of in harmful[:4])
        said.append(f"Beware of {names}: here the source does harm. method.guard=gate falls back where it does.")
    return [*said, *_apart(found)]


def _apart(found: Comparison) -> list[str]:
    """How unlike the domains are, in words, where it was measured."""
    tables = [of["before"] for one in found.best if (of := apart.distances(one))]
    if not tables:
        return []
    proxy, mmd = (float(np.mean([table[key] for table in tables])) for key in ("proxy_a", "mmd"))
    how = "hard" if proxy < 0.5 else "fairly easy" if proxy < 1.5 else "very easy"
    said = f"Source and target are {how} to tell apart (proxy A-distance {proxy:.2f} of 2, MMD² {mmd:.3g})"
    shifts = [run.result["shift"]["labels"] for one in found.best for run in one.runs if run.result.get("shift")]
    if shifts:
        said += f"; the classes' shares differ by an estimated {np.mean(shifts):.0%}"
    return [said + "."]


def table(found: Comparison) -> Leaderboard | None:
    """Gain over target_only and over source_only of every method that sees the source, and whom it harms."""
    both = {name: {of.one.method: of for of in effects(found, name)} for name in (REFERENCE, UNADAPTED)}
    both = {name: rows for name, rows in both.items() if rows}
    order = [one for one in found.best if any(one.method in rows for rows in both.values())]
    if not order:
        return None
    heads, first = ["method"], next(iter(both))
    for name in both:
        heads += [f"gain over {name}", "95 % interval", "verdict"]
    groups = [group for group in parts(found) if found.unit == "users"]
    heads += [f"gain, {WHO[group]}" for group in groups]
    heads += [f"{whole(found)} worse", f"{whole(found)} better", "runs ahead"]
    guarded = any(one.runs[0].result.get("guard") for one in order)
    heads += ["share of the source (guard)"] if guarded else []
    rows = []
    for one in order:
        row = [Cell(one.method)]
        for rows_of in both.values():
            row += _gain(rows_of.get(one.method))
        of = both[first].get(one.method)
        row += [_number(of.groups[group].difference if of and group in of.groups else None) for group in groups]
        row += [_share(of and of.worse), _share(of and of.better), _ahead(of)]
        rows.append(row + ([_guard(one)] if guarded else []))
    return Leaderboard(heads, rows, order)


def by_seed(found: Comparison) -> Leaderboard | None:
    """The gain of every method on every split and seed."""
    name = REFERENCE if chosen_of(found, REFERENCE) else UNADAPTED
    rows = [of for of in effects(found, name) if len(of.runs) > 1]
    if not rows:
        return None
    runs = list(dict.fromkeys(run for of in rows for run in of.runs))[:SEEDS]
    cells = [[Cell(of.one.method), *(_number(of.runs.get(run)) for run in runs)] for of in rows]
    return Leaderboard([f"gain over {name}", *runs], cells, [of.one for of in rows])


def by_class(found: Comparison) -> Leaderboard | None:
    """The gain of every method in every class, with its interval; None for users."""
    name = REFERENCE if chosen_of(found, REFERENCE) else UNADAPTED
    rows = [of for of in effects(found, name) if of.groups] if found.unit == "examples" else []
    if not rows:
        return None
    classes = found.facts["world"]["classes"]
    heads = [f"gain over {name}", *map(str, classes)]
    cells = [[Cell(of.one.method), *(_interval(of.groups.get(f"class {i}")) for i in range(len(classes)))] for of in rows]
    return Leaderboard(heads, cells, [of.one for of in rows])


def _gain(of: Effect | None) -> list[Cell]:
    if of is None:
        return [Cell("–")] * 3
    low, high = of.paired.low, of.paired.high
    return [_number(of.paired.difference), Cell(between(low, high, "+"), low), Cell(of.verdict)]


def _number(value: float | None) -> Cell:
    return Cell(number(value, "+"), value)


def _interval(of: Paired | None) -> Cell:
    if of is None:
        return Cell("–")
    sure = f" ({between(of.low, of.high, '+')})" if np.isfinite(of.low) else ""
    return Cell(number(of.difference, "+") + sure, of.difference)


def _share(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:.0%}", value)


def _ahead(of: Effect | None) -> Cell:
    if of is None or not of.runs:
        return Cell("–")
    ahead = sum(value > 0 for value in of.runs.values())
    return Cell(f"{ahead} of {len(of.runs)}", ahead / len(of.runs))


def _guard(one: Setting) -> Cell:
    shares = [1 - run.result["guard"]["weights"][REFERENCE] for run in one.runs if run.result.get("guard")]
    return _share(float(np.mean(shares)) if shares else None)

"""Does the source help? Gains over target_only and source_only, by seed, by group of users or class, and whom it harms."""

from __future__ import annotations

import numpy as np

from transfer.evaluate.significance import Paired
from transfer.report.comparison.comparison import REFERENCE, UNADAPTED, Comparison, Setting, chosen_of
from transfer.report.comparison.effects import Effect, effects, parts, whole
from transfer.report.page import distances
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import between, number

SEEDS = 24  # columns of the table by seed, at most
MEANING = {
    REFERENCE: "the same kind of model that has never seen the source",
    UNADAPTED: "a model of the source as it is",
}
_COUNTED = {"helps": "gain from it", "hurts": "lose by it", "no difference": "show no difference"}
WHO = {"cold": "cold users", "sparse": "sparse users", "warm": "warm users"}


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
    tables = [of["before"] for one in found.best if (of := distances.distances(one))]
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

"""Many comparisons at a glance: a row for each world, and the gain of every pair of domains as a picture."""

from __future__ import annotations

from matplotlib.patches import Rectangle

from transfer.report.comparison.average import alone, grids, pair_name
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.reference import reference, reference_name
from transfer.report.comparison.verdicts import HELPS, HURTS
from transfer.report.page.svg import BAD, GOOD, INK, PAGE, Figure, finish, panel, told
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import number

METHODS, SIDE = 4, 12  # panels of a grid; sources and targets of a picture
MARKS = {HELPS: " ▲", HURTS: " ▼"}


def overview(comparisons: list[Comparison]) -> Leaderboard | None:
    """What validation chose in every world, its test figure, the reference, and each method's gain over it; None where
    there is one world."""
    rows = [each for comparison in alone(comparisons) for each in [comparison, *comparison.members]]
    if len(rows) < 2:
        return None
    methods = list(dict.fromkeys(gap.method for each in rows for gap in each.gaps))
    methods = [
        name for name in methods if any(each.uses_source for row in rows for each in row.best if each.method == name)
    ]
    several = len({each.metric for each in rows}) > 1
    heads = ["world", *(["metric"] if several else []), "choice of validation", "its test figure", "reference"]
    names = _names(alone(comparisons))
    members = {id(member) for comparison in comparisons for member in comparison.members}
    cells = []
    for each in rows:
        chosen, gaps = each.best[0], [each.gap(name) for name in methods]
        test = each.summary(chosen).mean
        inside = id(each) in members
        row = [Cell(pair_name(each) if inside else names[id(each)]), *([Cell(each.metric)] if several else [])]
        row += [Cell(chosen.method), Cell(number(test), test), Cell(reference_name(each) if reference(each) else "none")]
        row += [
            Cell("–")
            if gap is None
            else Cell(_gain(each, gap.paired.difference) + MARKS.get(gap.verdict, ""), gap.paired.difference)
            for gap in gaps
        ]
        cells.append(row)
    return Leaderboard([*heads, *(f"gain, {name}" for name in methods)], cells, [each.best[0] for each in rows])


def _names(comparisons: list[Comparison]) -> dict[int, str]:
    """Titles without what all of them say."""
    parts = {id(each): each.title.split(", ") for each in comparisons}
    common = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    return {key: ", ".join(part for part in of if part not in common) or ", ".join(of) for key, of in parts.items()}


def _gain(comparison: Comparison, difference: float) -> str:
    return number(comparison.sign * difference, "+")


def pictures(comparisons: list[Comparison]) -> list[Figure]:
    """Source × target: the gain over the reference of the methods that validation likes best, a picture for each."""
    made = []
    for members in grids(comparisons):
        sources, targets = (sorted({_ends(each)[side] for each in members}) for side in (0, 1))
        if not (2 <= len(sources) <= SIDE and 2 <= len(targets) <= SIDE):
            continue
        mean = (one for one in comparisons if any(each is members[0] for each in one.members))
        order = next(mean, members[0]).best
        names = [one.method for one in order if one.uses_source and any(each.gap(one.method) for each in members)]
        made += [_picture(members, name, sources, targets) for name in names[:METHODS]]
    return made


def _ends(comparison: Comparison) -> tuple[str, str]:
    """The sources and the target of a comparison by name."""
    source, _, target = pair_name(comparison).rpartition(" → ")
    return source, target


def _picture(members: list[Comparison], method: str, sources: list[str], targets: list[str]) -> Figure:
    canvas, (axis,) = panel(height=1.1 + 0.36 * len(sources))
    gaps = {_ends(each): (each, gap) for each in members if (gap := each.gap(method))}
    gains = {ends: each.sign * gap.paired.difference for ends, (each, gap) in gaps.items()}
    most = max((abs(value) for value in gains.values()), default=0.0) or 1.0
    for (source, target), gain in gains.items():
        each, gap = gaps[source, target]
        row, column = sources.index(source), targets.index(target)
        cell = Rectangle((column, row), 1, 1, fc=GOOD if gain > 0 else BAD, alpha=0.6 * abs(gain) / most, ec="none")
        said = f"{source} → {target}: {number(gain, '+')} over {reference_name(each)}, {gap.verdict}"
        told(axis.add_patch(cell), said)
        weight = "bold" if gap.verdict in MARKS else "normal"
        text = f"{gain:+.3f}".replace("-", "−") + MARKS.get(gap.verdict, "")
        told(axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=INK, fontsize=8, weight=weight), said)
    for place in range(1, max(len(sources), len(targets))):
        axis.axhline(place, color=PAGE, lw=1.5)
        axis.axvline(place, color=PAGE, lw=1.5)
    axis.set(xlim=(0, len(targets)), ylim=(len(sources), 0), xlabel="target", ylabel="source")
    axis.set_xticks([place + 0.5 for place in range(len(targets))], targets, rotation=0 if len(targets) < 6 else 45)
    axis.set_yticks([place + 0.5 for place in range(len(sources))], sources)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(method, loc="left", fontsize=10)
    base = " or ".join(dict.fromkeys(reference_name(each) for each in members))
    caption = f"Gain in {members[0].part_name} {members[0].metric} over {base}; green: better, red: worse, deeper: more. "
    caption += "▲ helps, ▼ hurts, after correction; no mark: not shown or not tested."
    pairs = "; ".join(f"{source} → {target} {gain:+.4f}" for (source, target), gain in gains.items())
    return finish(canvas, f"{method}: gain by pair of domains: {pairs}", caption)

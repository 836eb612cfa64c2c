"""The leaderboard as rows of text, and in Markdown."""

from __future__ import annotations

import re
from typing import NamedTuple

from transfer.report.comparison.average import alone, pair_name
from transfer.report.comparison.comparison import Comparison, Setting, by_pair, count, groups_of, shown
from transfer.report.comparison.reference import TARGET_ONLY, bases, reference, reference_name, reference_words
from transfer.report.comparison.verdicts import MARGIN
from transfer.report.page.words import between, chance, number

MARKDOWN = {c: f"\\{c}" for c in "\\|[]`"} | {"<": "&lt;", ">": "&gt;"}


class Cell(NamedTuple):
    """A cell: what stands there and, for a number, by what it sorts."""

    text: str
    value: float | None = None


class Leaderboard(NamedTuple):
    """Column heads and rows of cells, with a setting beside every row."""

    heads: list[str]
    rows: list[list[Cell]]
    settings: list[Setting]


def leaderboard(comparison: Comparison) -> Leaderboard:
    """The chosen setting of each method, the choice of validation first."""
    metric, known = comparison.metric, comparison.facts["metrics"][comparison.part]
    others = [name for name in shown(metric) if name in known and name != metric]
    valid_head = [f"validation {metric}"] if comparison.part == "test" else []
    heads = ["method", "source", *valid_head, f"{comparison.part_name} {metric}", "95 % interval", *_gap_heads(comparison)]
    heads += ["runs", *others, "s per run"]
    rows = []
    for setting in comparison.best:
        valid, test, sees = setting.summary("valid", metric), comparison.summary(setting), setting.uses_source
        seconds = setting.mean(run.seconds for run in setting.runs)
        rows.append(
            [
                Cell(setting.method),
                Cell("yes" if sees else "no"),
                *([Cell(number(valid.mean), valid.mean)] if valid_head else []),
                Cell(spread(test.mean, test.std), test.mean),
                Cell(between(test.low, test.high), test.low),
                *_gap_cells(setting, comparison),
                Cell(count(setting), float(len(setting.runs))),
                *(_figure(setting.summary(comparison.part, name).mean) for name in others),
                Cell("–" if seconds is None else f"{seconds:.2f}" if seconds >= 0.01 else "< 0.01", seconds),
            ]
        )
    return Leaderboard(heads, rows, comparison.best)


def _gap_heads(comparison: Comparison) -> list[str]:
    if reference(comparison) is None:
        return []
    heads = [f"gap to {reference_name(comparison)}", "95 % interval of gap", "p", "verdict", *_groups(comparison)]
    return [*heads, f"gap to {TARGET_ONLY}"] if TARGET_ONLY in [*bases(comparison)][1:] else heads


def _gap_cells(setting: Setting, comparison: Comparison) -> list[Cell]:
    """The gap to the reference, its interval, corrected p and verdicts, and the gap to target_only where that is not it."""
    gap, groups = comparison.gap(setting.method), _groups(comparison)
    if reference(comparison) is None:
        return []
    if gap:
        low, high = gap.paired.low, gap.paired.high
        own = [comparison.gap(setting.method, group) for group in groups]
        row = [_figure(gap.paired.difference, "+"), Cell(between(low, high, "+"), low), Cell(chance(gap.holm), gap.holm)]
        row += [Cell(gap.verdict), *(Cell(each.verdict if each else "–") for each in own)]
    else:
        row = [Cell("reference" if setting is reference(comparison, setting) else "–"), *[Cell("–")] * (3 + len(groups))]
    if TARGET_ONLY in [*bases(comparison)][1:]:
        beside = comparison.target_gap(setting.method)
        row.append(_figure(beside.paired.difference, "+") if beside else Cell("–"))
    return row


def _groups(comparison: Comparison) -> list[str]:
    return [group for group in groups_of(comparison) if group != "all"]


def _figure(value: float, sign: str = "") -> Cell:
    return Cell(number(value, sign), value)


def spread(mean: float, std: float) -> str:
    return number(mean) if std != std else f"{number(mean)} ± {number(std)}"


def markdown(comparisons: list[Comparison]) -> str:
    """One table for every comparison; of a mean over pairs of domains another with a column for each pair."""
    parts = []
    for comparison in alone(comparisons):
        parts.append(f"### {plain(comparison.title)}\n\nReference: {plain(reference_words(comparison))}.\n")
        parts.append(f"{lines(leaderboard(comparison))}\n")
        if comparison.members:
            parts.append(f"{comparison.part_name} {comparison.metric} by pair:\n\n{lines(matrix(comparison))}\n")
    return "\n".join(parts) + f"\n{NOTE}\n"


def lines(board: Leaderboard) -> str:
    """A table of Markdown."""
    rows = [board.heads, ["---", *["--:"] * (len(board.heads) - 1)]]
    rows += [[cell.text for cell in row] for row in board.rows]
    return "\n".join("| " + " | ".join(map(plain, line)) + " |" for line in rows)


def plain(text: str) -> str:
    """Text in Markdown that is nothing but text: no HTML, no link, no cell of its own."""
    return re.sub(r"[\\|<>\[\]`]", lambda match: MARKDOWN[match[0]], " ".join(text.split()))


def matrix(comparison: Comparison) -> Leaderboard:
    """Methods by pairs of domains, the best mean first."""
    rows = []
    for setting in comparison.best:
        values = by_pair(setting.method, comparison)
        mean = comparison.summary(setting).mean
        rows.append([Cell(setting.method), *(Cell(number(value), value) for value in [*values, mean])])
    return Leaderboard(["method", *(pair_name(member) for member in comparison.members), "mean"], rows, comparison.best)


NOTE = (
    "The choice of validation comes first. Test figures: mean ± standard deviation over runs (splits × seeds) of the "
    "setting that validation chose; their interval knows of users (or examples) within splits and is cut at the ends of "
    "the metric's range. Gap: the difference to the reference, the best method without a source, chosen on validation "
    "(without labels of the target: to "
    "source_only, the model not adapted), on the same worlds and seeds; that of a mean over pairs of domains has an "
    "interval over pairs. p: corrected by Holm over the methods that see the source. Verdicts: helps and hurts "
    f"where p < 0.05; no difference where the interval lies within ± {MARGIN:.0%} of the reference's figure; else not "
    "shown; not tested with fewer than three splits or pairs of domains; no source: a method that sees none can neither "
    "help nor hurt. By group: cold users have no training event in the target, sparse ones 1–4, warm ones 5 or more."
)

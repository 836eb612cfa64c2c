"""The leaderboard as rows of text, in Markdown and in LaTeX."""

from __future__ import annotations

import re
from typing import NamedTuple

from transfer.report.comparison.average import alone, by_pair, pair_name
from transfer.report.comparison.comparison import (
    REFERENCE,
    UNADAPTED,
    Comparison,
    Setting,
    count,
    groups_of,
    reference,
    reference_name,
    shown,
)
from transfer.report.page.words import between, number

SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SIGNS = {"±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$", "≥": r"$\ge$", "…": r"\ldots{}"}


class Cell(NamedTuple):
    """A cell: what stands there and, for a number, by what it sorts."""

    text: str
    value: float | None = None


class Leaderboard(NamedTuple):
    """Column heads and rows of cells, with a setting beside every row."""

    heads: list[str]
    rows: list[list[Cell]]
    settings: list[Setting]


def leaderboard(found: Comparison, everything: bool = False) -> Leaderboard:
    """The chosen setting of each method, best test figure first; with `everything` all settings and their validation."""
    metric, names = found.metric, [n for n in shown(found.metric) if n in found.facts["metrics"][found.part]]
    others = [name for name in names if name != metric]
    groups = [group for group in groups_of(found) if group != "all"]
    heads = ["method", "source", f"{found.part_name} {metric}", "95 % interval"]
    heads += ["setting"] if everything else [f"gap to {reference_name(found)}", "95 % interval of gap", "verdict", *groups]
    heads += ["runs", f"validation {metric}", *others, "s per run"]
    ranked = sorted(found.settings, key=lambda one: -found.sign * one.summary(found.part, metric).mean)
    settings = ranked if everything else found.best
    return Leaderboard(heads, [_row(one, found, others, groups, everything) for one in settings], settings)


def _row(one: Setting, found: Comparison, others: list[str], groups: list[str], everything: bool) -> list[Cell]:
    valid, test = (one.summary(part, found.metric) for part in ("valid", found.part))
    gap, seconds = found.gap(one.method), one.mean(run.seconds for run in one.runs)
    name, sees = Cell(one.method), Cell("yes" if one.uses_source else "no")
    row = [name, sees, Cell(spread(test.mean, test.std), test.mean), Cell(between(test.low, test.high), test.low)]
    if everything:
        more = ", ".join(f"{key}={value}" for key, value in one.label.items() if key != "method") or "as configured"
        row.append(Cell(more + (" ★" if one.best else "")))
    elif gap:
        low, high = gap.paired.low, gap.paired.high
        row += [Cell(number(gap.paired.difference, "+"), gap.paired.difference), Cell(between(low, high, "+"), low)]
        row += [Cell(gap.verdict), *(Cell(of.verdict if (of := found.gap(one.method, group)) else "–") for group in groups)]
    else:
        row += [Cell("reference" if one is reference(found, one) else "–"), *[Cell("–")] * (2 + len(groups))]
    return [
        *row,
        Cell(count(one), float(len(one.runs))),
        Cell(number(valid.mean), valid.mean),
        *(Cell(number(of.mean), of.mean) for of in (one.summary(found.part, name) for name in others)),
        Cell("–" if seconds is None else f"{seconds:.2f}" if seconds >= 0.01 else "< 0.01", seconds),
    ]


def spread(mean: float, std: float) -> str:
    return number(mean) if std != std else f"{number(mean)} ± {number(std)}"


def markdown(comparisons: list[Comparison]) -> str:
    """One table for every comparison; of a mean over pairs of domains another with a column for each pair."""
    parts = []
    for found in alone(comparisons):
        parts.append(f"### {found.title}\n\n{lines(leaderboard(found))}\n")
        if found.members:
            parts.append(f"{found.part_name} {found.metric} by pair:\n\n{lines(matrix(found))}\n")
    return "\n".join(parts) + f"\n{NOTE}\n"


def lines(board: Leaderboard) -> str:
    """A table of Markdown."""
    rows = [board.heads, ["---", *["--:"] * (len(board.heads) - 1)]]
    rows += [[cell.text for cell in row] for row in board.rows]
    return "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in line) + " |" for line in rows)


def matrix(found: Comparison) -> Leaderboard:
    """Methods by pairs of domains, the best mean first."""
    rows = []
    for one in found.best:
        values = by_pair(one.method, found)
        mean = one.summary(found.part, found.metric).mean
        rows.append([Cell(one.method), *(Cell(number(value), value) for value in [*values, mean])])
    return Leaderboard(["method", *(pair_name(member) for member in found.members), "mean"], rows, found.best)


NOTE = (
    "Test figures: mean ± standard deviation over runs (splits × seeds) of the setting that validation chose. Gap: the "
    f"difference to {REFERENCE} (without labels of the target to {UNADAPTED}) on the same worlds and seeds; its interval "
    "knows of users (or examples) within splits; that of a mean over pairs of domains is one over pairs. "
    "Verdicts by group: cold users have no training event in the target, sparse ones 1–4, warm ones 5 or more."
)


def latex(comparisons: list[Comparison]) -> str:
    """A booktabs table for every comparison, to be read with \\input."""
    parts = ["% needs \\usepackage{booktabs}"]
    for found in alone(comparisons):
        board = leaderboard(found)
        lines = [" & ".join(tex(word) for word in board.heads) + r" \\", r"\midrule"]
        lines += [" & ".join(tex(cell.text) for cell in row) + r" \\" for row in board.rows]
        body = "\n".join(lines)
        caption = tex(f"{found.title}. {NOTE}")
        columns = "l" + "r" * (len(board.heads) - 1)
        parts.append(
            f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n"
            "\\bottomrule\n\\end{tabular}\n\\end{table}"
        )
    return "\n\n".join(parts) + "\n"


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return re.sub(r".", lambda found: SPECIAL.get(found[0]) or SIGNS.get(found[0]) or found[0], text)

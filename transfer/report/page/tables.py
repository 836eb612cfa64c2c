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


def leaderboard(comparison: Comparison, everything: bool = False) -> Leaderboard:
    """The chosen setting of each method, best test figure first; with `everything` all settings and their validation."""
    metric, names = (
        comparison.metric,
        [n for n in shown(comparison.metric) if n in comparison.facts["metrics"][comparison.part]],
    )
    others = [name for name in names if name != metric]
    groups = [group for group in groups_of(comparison) if group != "all"]
    heads = ["method", "source", f"{comparison.part_name} {metric}", "95 % interval"]
    heads += (
        ["setting"] if everything else [f"gap to {reference_name(comparison)}", "95 % interval of gap", "verdict", *groups]
    )
    heads += ["runs", f"validation {metric}", *others, "s per run"]
    ranked = sorted(
        comparison.settings, key=lambda setting: -comparison.sign * setting.summary(comparison.part, metric).mean
    )
    settings = ranked if everything else comparison.best
    return Leaderboard(heads, [_row(setting, comparison, others, groups, everything) for setting in settings], settings)


def _row(setting: Setting, comparison: Comparison, others: list[str], groups: list[str], everything: bool) -> list[Cell]:
    valid, test = (setting.summary(part, comparison.metric) for part in ("valid", comparison.part))
    gap, seconds = comparison.gap(setting.method), setting.mean(run.seconds for run in setting.runs)
    name, sees = Cell(setting.method), Cell("yes" if setting.uses_source else "no")
    row = [name, sees, Cell(spread(test.mean, test.std), test.mean), Cell(between(test.low, test.high), test.low)]
    if everything:
        more = ", ".join(f"{key}={value}" for key, value in setting.label.items() if key != "method") or "as configured"
        row.append(Cell(more + (" ★" if setting.best else "")))
    elif gap:
        low, high = gap.paired.low, gap.paired.high
        row += [Cell(number(gap.paired.difference, "+"), gap.paired.difference), Cell(between(low, high, "+"), low)]
        row += [
            Cell(gap.verdict),
            *(Cell(own.verdict if (own := comparison.gap(setting.method, group)) else "–") for group in groups),
        ]
    else:
        row += [Cell("reference" if setting is reference(comparison, setting) else "–"), *[Cell("–")] * (2 + len(groups))]
    return [
        *row,
        Cell(count(setting), float(len(setting.runs))),
        Cell(number(valid.mean), valid.mean),
        *(
            Cell(number(summary.mean), summary.mean)
            for summary in (setting.summary(comparison.part, name) for name in others)
        ),
        Cell("–" if seconds is None else f"{seconds:.2f}" if seconds >= 0.01 else "< 0.01", seconds),
    ]


def spread(mean: float, std: float) -> str:
    return number(mean) if std != std else f"{number(mean)} ± {number(std)}"


def markdown(comparisons: list[Comparison]) -> str:
    """One table for every comparison; of a mean over pairs of domains another with a column for each pair."""
    parts = []
    for comparison in alone(comparisons):
        parts.append(f"### {comparison.title}\n\n{lines(leaderboard(comparison))}\n")
        if comparison.members:
            parts.append(f"{comparison.part_name} {comparison.metric} by pair:\n\n{lines(matrix(comparison))}\n")
    return "\n".join(parts) + f"\n{NOTE}\n"


def lines(board: Leaderboard) -> str:
    """A table of Markdown."""
    rows = [board.heads, ["---", *["--:"] * (len(board.heads) - 1)]]
    rows += [[cell.text for cell in row] for row in board.rows]
    return "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in line) + " |" for line in rows)


def matrix(comparison: Comparison) -> Leaderboard:
    """Methods by pairs of domains, the best mean first."""
    rows = []
    for setting in comparison.best:
        values = by_pair(setting.method, comparison)
        mean = setting.summary(comparison.part, comparison.metric).mean
        rows.append([Cell(setting.method), *(Cell(number(value), value) for value in [*values, mean])])
    return Leaderboard(["method", *(pair_name(member) for member in comparison.members), "mean"], rows, comparison.best)


NOTE = (
    "Test figures: mean ± standard deviation over runs (splits × seeds) of the setting that validation chose. Gap: the "
    f"difference to {REFERENCE} (without labels of the target to {UNADAPTED}) on the same worlds and seeds; its interval "
    "knows of users (or examples) within splits; that of a mean over pairs of domains is one over pairs. "
    "Verdicts by group: cold users have no training event in the target, sparse ones 1–4, warm ones 5 or more."
)


def latex(comparisons: list[Comparison]) -> str:
    """A booktabs table for every comparison, to be read with \\input."""
    parts = ["% needs \\usepackage{booktabs}"]
    for comparison in alone(comparisons):
        board = leaderboard(comparison)
        lines = [" & ".join(tex(word) for word in board.heads) + r" \\", r"\midrule"]
        lines += [" & ".join(tex(cell.text) for cell in row) + r" \\" for row in board.rows]
        body = "\n".join(lines)
        caption = tex(f"{comparison.title}. {NOTE}")
        columns = "l" + "r" * (len(board.heads) - 1)
        parts.append(
            f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n"
            "\\bottomrule\n\\end{tabular}\n\\end{table}"
        )
    return "\n\n".join(parts) + "\n"


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return re.sub(r".", lambda match: SPECIAL.get(match[0]) or SIGNS.get(match[0]) or match[0], text)

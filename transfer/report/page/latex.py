"""Tables for a paper: booktabs, as narrow as a column, the choice of validation in bold."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from transfer.errors import TransferError, nearest
from transfer.report.comparison.average import alone
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.reference import reference_name, reference_words
from transfer.report.page.ablation import ABLATION_NOTE, ablation
from transfer.report.page.tables import NOTE, Leaderboard, leaderboard

SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
# As they stand, <, > and | come out as other characters, and [ or * at the beginning of a row belong to the row before.
SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "*": "{*}"}
SIGNS = {
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "…": r"\ldots{}",
    "★": r"$\star$",
}
SIGNS |= {"→": r"$\rightarrow$", "←": r"$\leftarrow$"}
NEEDS = "% needs \\usepackage{booktabs}; names that are not in Latin letters need LuaLaTeX or XeLaTeX, and a font of theirs"
NARROW = ("method", "test", "gap", "verdict")  # what fits one of two columns of a page


def latex(comparisons: list[Comparison], columns: Sequence[str] = NARROW) -> str:
    """A table for every comparison, to be read with \\input, and another with a factor a column where settings were swept.

    columns: of the leaderboard, by the beginnings of their heads, such as method, test, "95 % interval", gap, p, verdict,
    runs, validation; `all`. Raises TransferError for one that no leaderboard has.
    """
    parts = [NEEDS, "\n".join(f"% {line}" for line in textwrap.wrap(NOTE, 100))]
    for comparison in alone(comparisons):
        board = leaderboard(comparison)
        caption = f"{comparison.title}. Gap: to {reference_words(comparison)}. Bold: the choice of validation."
        chosen = _only(board, columns)
        heads = ["gap" if head == f"gap to {reference_name(comparison)}" else head for head in chosen.heads]
        parts.append(_table(chosen._replace(heads=heads), caption, bold=0))
        if swept := ablation(comparison):
            parts.append(_table(swept, f"{comparison.title}: all settings. {ABLATION_NOTE}", bold=None, kind="table*"))
    return "\n\n".join(parts) + "\n"


def check_columns(columns: Sequence[str], heads: Sequence[str]) -> list[int]:
    """The places of columns among heads: each is the first whose head begins with it. Raises TransferError."""
    if list(columns) == ["all"]:
        return list(range(len(heads)))
    places = []
    for name in columns:
        found = [place for place, head in enumerate(heads) if head == name] or [
            place for place, head in enumerate(heads) if head.startswith(name)
        ]
        if not name or not found:
            raise TransferError(f"columns: {name!r} is none{nearest(name, heads) or ';'} there are {', '.join(heads)}")
        places.append(found[0])
    return places


def _only(board: Leaderboard, columns: Sequence[str]) -> Leaderboard:
    """The columns that were asked for; of the narrow ones those that there are."""
    asked = [name for name in columns if columns is not NARROW or any(head.startswith(name) for head in board.heads)]
    places = check_columns(asked, board.heads)
    return Leaderboard([board.heads[p] for p in places], [[row[p] for p in places] for row in board.rows], board.settings)


def _table(board: Leaderboard, caption: str, bold: int | None, kind: str = "table") -> str:
    """kind: `table*` stands across both columns of a page."""
    lines = [" & ".join(tex(word) for word in board.heads) + r" \\", r"\midrule"]
    for number, row in enumerate(board.rows):
        cells = [tex(cell.text) for cell in row]
        lines.append(" & ".join([f"\\textbf{{{cell}}}" for cell in cells] if number == bold else cells) + r" \\")
    body = "\n".join(lines)
    columns = "l" + "r" * (len(board.heads) - 1)
    return (
        f"\\begin{{{kind}}}\n\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n\\caption{{{tex(caption)}}}\n"
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{{kind}}}"
    )


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return re.sub(r".", lambda match: SPECIAL.get(match[0]) or SIGNS.get(match[0]) or match[0], " ".join(text.split()))

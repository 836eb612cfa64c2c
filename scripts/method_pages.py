"""A page for every method: what its docstring says, what it needs, its numbers, and its figures in the studies.

`mkdocs build` makes them (scripts/site_hooks.py); `python scripts/method_pages.py METHOD` prints one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from transfer.commands.method import needed, settings
from transfer.registry import find, names

ROOT = Path(__file__).resolve().parents[1]
ROWS = 20  # of the figures of a method, at most: the first of every study, then the second, …


def method_page(name: str, figures: pl.DataFrame) -> str:
    """The page of one method as Markdown."""
    module = find("methods", name)
    doc = (module.__doc__ or "").strip()
    parts = [f"# {name}", f"```text\n{doc}\n```"]
    facts = {
        "tasks": ", ".join(module.NEEDS.tasks),
        "needs": ", ".join(needed(module.NEEDS)) or "nothing of the world",
        "settings": settings(module),
    }
    parts.append("\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]))
    own = figures.filter(pl.col("method").str.split(" ").list.first() == name)
    if len(own):
        heads = ("study", "measured on", "setting", "metric", "mean ± std over runs", "gap to the reference", "verdict")
        rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        nth = pl.int_range(pl.len()).over("study")
        shown = own.with_row_index().sort(nth, maintain_order=True).head(ROWS).sort("index")
        rows += [_row(row) for row in shown.iter_rows(named=True)]
        more = f"\n\nAnd {len(own) - ROWS} more in the studies." if len(own) > ROWS else ""
        parts.append("## Figures\n\n" + "\n".join(rows) + more)
    parts.append("[All methods](../methods.md), [how a gap is tested](../evaluation.md#statistics)")
    return "\n\n".join(parts) + "\n"


def figures_of_studies(folder: Path = ROOT / "experiments") -> pl.DataFrame:
    """The expected figures of every study, of the metric that each comparison names first, the best of a method in each."""
    tables = [
        pl.read_csv(path, schema_overrides={"gap": pl.Float64, "verdict": pl.String, "std": pl.Float64}).with_columns(
            study=pl.lit(path.parent.name)
        )
        for path in sorted(folder.glob("*/expected.csv"))
    ]
    every = pl.concat(tables, how="diagonal_relaxed")
    first = pl.col("metric") == pl.col("metric").first().over("study", "comparison")
    plain = pl.col("method").str.split(" ").list.first()
    return every.filter(first).unique(["study", "comparison", plain.alias("plain")], keep="first", maintain_order=True)


def _row(row: dict[str, object]) -> str:
    def number(value: object, sign: str = "") -> str:
        return f"{value:{sign}.4f}".replace("-", "−") if isinstance(value, float) else "–"

    study = f"[{row['study']}](../experiments/{row['study']}/README.md)"
    cells = [study, row["comparison"], f"`{row['method']}`", row["metric"], f"{number(row['mean'])} ± {number(row['std'])}"]
    return "| " + " | ".join(map(str, [*cells, number(row["gap"], "+"), row["verdict"] or "–"])) + " |"


if __name__ == "__main__":
    for method in sys.argv[1:] or names("methods"):
        print(method_page(method, figures_of_studies()))

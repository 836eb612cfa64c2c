"""Draw what the source gains or costs: `python experiments/negative_transfer/heatmap.py RESULTS.csv [heatmap.png]`.

RESULTS.csv is that of the report (sweeps/studies/negative_transfer/results.csv). A cell is the difference in nDCG@10
to target_only in the same world; red cells lose.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl

mpl.use("Agg")
from matplotlib import pyplot as plt

WORLD = ["domain.correlation", "domain.shared", "domain.target_events"]
METHODS = {
    ("cmf", "none"): "cmf",
    ("item_knn", "none"): "item_knn",
    ("user_knn", "none"): "user_knn",
    ("ridge_map", "none"): "ridge_map",
    ("user_knn", "gate"): "user_knn under a guard",
}


def gains(results: Path) -> pl.DataFrame:
    """Columns of WORLD, `method`, `method.guard` and `gain`, the mean difference to target_only in a cell."""
    table = pl.read_csv(results, infer_schema_length=None).filter(domain="simulated", status="done")
    table = table.with_columns(pl.col(WORLD).cast(pl.Float64), pl.col("method.guard").fill_null("none"))
    drawn = [*WORLD, "domain.data_seed"]
    alone = table.filter(method="target_only").group_by(drawn).agg(alone=pl.col("test/ndcg@10").mean())
    both = table.filter(pl.col("method") != "target_only").join(alone, on=drawn)
    gain = (pl.col("test/ndcg@10") - pl.col("alone")).mean()
    return both.group_by([*WORLD, "method", "method.guard"]).agg(gain=gain)


def main(results: Path, place: Path | None = None) -> Path:
    table = gains(results)
    across = table["domain.correlation"].unique().sort().to_list()
    up = table.select(WORLD[1:]).unique().sort(WORLD[1:]).rows()
    most = float(table["gain"].abs().max())  # type: ignore[arg-type]
    figure, axes = plt.subplots(1, len(METHODS), figsize=(15, 3.4), sharey=True, layout="constrained")
    for axis, ((method, guard), title) in zip(axes, METHODS.items(), strict=True):
        cells = np.full((len(up), len(across)), np.nan)
        for row in table.filter(pl.col("method") == method, pl.col("method.guard") == guard).iter_rows(named=True):
            cells[up.index(tuple(row[key] for key in WORLD[1:])), across.index(row["domain.correlation"])] = row["gain"]
        drawn = axis.imshow(cells, cmap="RdBu", vmin=-most, vmax=most, origin="lower", aspect="auto")
        for (y, x), value in np.ndenumerate(cells):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 * most else "black"
                axis.text(x, y, f"{value:+.3f}".replace("-", "−"), ha="center", va="center", fontsize=7.5, color=colour)
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(across)), [f"{value:g}" for value in across])
        axis.set_xlabel("correlation of tastes")
        axis.tick_params(length=0)
    axes[0].set_yticks(range(len(up)), [f"{shared:.0%} shared,\n{events:g} books each" for shared, events in up])
    figure.colorbar(drawn, ax=axes, label="gain over target_only, nDCG@10", shrink=0.9)
    place = place or results.with_name("heatmap.png")
    figure.savefig(place, dpi=120)
    return place


if __name__ == "__main__":
    print(main(*map(Path, sys.argv[1:])))

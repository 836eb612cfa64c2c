"""What every source by itself gains for readers of every target: source × target, as `method.sources=chosen` judged it."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Rectangle

from transfer.report.comparison.average import alone
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.files import clean
from transfer.report.page.svg import BAD, GOOD, INK, PAGE, WIDTH, Figure, finish, panel, told

ROWS, COLUMNS = 40, 20
ALONE = "source_alone"


def heatmap(comparisons: list[Comparison]) -> list[Figure]:
    """Means over the runs of such a choice, the sources that gain most on the mean first; nothing for one target."""
    tables: dict[str, list[dict[str, float]]] = {}
    for run in (run for each in alone(comparisons) for run in each.runs if run.result.get(ALONE)):
        tables.setdefault(run.result["world"]["target"]["name"], []).append(run.result[ALONE])
    targets = sorted(tables)[:COLUMNS]
    if len(targets) < 2:
        return []
    names = dict.fromkeys(name for target in targets for of in tables[target] for name in of)
    gains = np.array([[_mean(tables[target], name) for target in targets] for name in names])
    order = np.argsort(-np.nanmean(gains, axis=1), kind="stable")[:ROWS]
    sources, gains = [list(names)[place] for place in order], gains[order]
    most = max(float(np.nanmax(np.abs(gains))), 1e-9)
    canvas, (axis,) = panel(width=max(WIDTH, 1.8 + 0.45 * len(targets)), height=1.4 + 0.22 * len(sources))
    for (row, column), gain in np.ndenumerate(gains):
        if np.isfinite(gain):
            said = f"{clean(sources[row])} → {clean(targets[column])}: {gain:+.4f}"
            cell = Rectangle((column, row), 1, 1, fc=GOOD if gain > 0 else BAD, alpha=0.6 * abs(gain) / most, ec=PAGE)
            told(axis.add_patch(cell), said)
            text = f"{1000 * gain:.1f}".replace("-0.0", "0.0").replace("-", "−")
            told(axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=INK, fontsize=7), said)
    axis.set_xticks(np.arange(len(targets)) + 0.5, [clean(name) for name in targets], rotation=40, ha="right")
    axis.set_yticks(np.arange(len(sources)) + 0.5, [clean(name) for name in sources], fontsize=8)
    axis.set(xlim=(0, len(targets)), ylim=(len(sources), 0))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("each source by itself", loc="left", fontsize=10)
    best = "; ".join(f"{clean(target)}: {clean(sources[np.nanargmax(gains[:, i])])}" for i, target in enumerate(targets))
    caption = (
        "Thousandths of nDCG@10 over popularity for training readers who are left out, by one source alone (row) for each "
        f"target (column), green a gain, red a loss. The best of each target: {best}."
    )
    return [finish(canvas, f"Gain of each source by itself; the best of each target: {best}", caption)]


def _mean(tables: list[dict[str, float]], name: str) -> float:
    """Over the runs that have this source; NaN where none has."""
    values = [of[name] for of in tables if name in of]
    return float(np.mean(values)) if values else np.nan

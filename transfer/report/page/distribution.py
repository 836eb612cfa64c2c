"""Who gains and who loses: the share of readers whose own gain is at most so much, by method."""

from __future__ import annotations

import numpy as np

from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.effects import shares
from transfer.report.comparison.per_user import difference
from transfer.report.comparison.reference import reference, reference_name
from transfer.report.page.figures import shade
from transfer.report.page.svg import MUTED, PAGE, Figure, finish, legend, panel, told

METHODS, POINTS = 5, 200  # lines of a figure, and the quantiles that each is drawn by


def gains_of_readers(comparison: Comparison) -> list[Figure]:
    """The distribution of gains over readers (or examples) of the methods that validation likes best; none where there are
    no values by reader."""
    found: list[tuple[str, np.ndarray]] = []
    for setting in comparison.best:
        base = reference(comparison, setting)
        if not setting.uses_source or base is None or base is setting or comparison.members:
            continue
        ours, theirs = (comparison.tests.get(each.method, {}) for each in (setting, base))
        sample = difference(comparison.metric, ours, theirs)
        if sample is not None and comparison.unit == "users":
            found.append((setting.method, comparison.sign * sample.plain))
    found = found[:METHODS]
    if not found:
        return []
    palette = shade(comparison)
    words: list[str] = []
    canvas, (axis,) = panel(height=3.0)
    axis.axvline(0, color=MUTED, lw=1)
    steps = np.linspace(0, 1, POINTS)
    for method, gain in found:
        worse, better = shares(gain)
        words.append(f"{method}: worse for {worse or 0:.0%}, better for {better or 0:.0%}, median {np.median(gain):+.4f}")
        told(axis.plot(np.quantile(gain, steps), steps, color=palette[method], label=method), words[-1])
    axis.grid(axis="y")
    axis.set_title(f"gains of {comparison.unit}", loc="left", fontsize=10)
    axis.set(
        xlabel=f"own gain in {comparison.metric} over {reference_name(comparison)}", ylabel=f"share of {comparison.unit}"
    )
    # beside the jump at zero, of which it may hide a part, no curve is there
    legend(axis, loc="center right", handlelength=1.2, frameon=True, facecolor=PAGE, edgecolor="none", framealpha=1)
    told_of = "; ".join(words)
    caption = (
        f"Distribution of readers' gains: the share of {comparison.unit} (means over seeds, all splits) whose own gain is "
    )
    caption += f"at most so much. {told_of}."
    return [finish(canvas, f"Distribution of gains over {reference_name(comparison)}: {told_of}", caption)]

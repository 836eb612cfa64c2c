"""What quality costs: figures of seconds and of trainable parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from transfer.report.comparison.comparison import Comparison, Setting
from transfer.report.comparison.runs import Run
from transfer.report.page.figures import shade
from transfer.report.page.svg import INK, LINE, MUTED, Figure, finish, panel, told

PER_RUN = "seconds per run"
LETTER = 9.0  # pixels of a label, with room for what the layout moves later
DOT, APART = 6.0, 14.0  # pixels: half a point's width, between two lines


def cost(comparison: Comparison) -> list[Figure]:
    """The test metric against seconds of a run and against trainable parameters; for strategies of one method, which
    differ in what they train last, also against both of the last stage."""
    made: list[Figure] = []
    costs: list[tuple[str, Any]] = [
        (PER_RUN, lambda run: run.seconds),
        ("trainable parameters", lambda run: run.result.get("trainable_parameters")),
        ("seconds of the last stage", lambda run: _last(run, "seconds_by_stage")),
        ("trainable parameters of the last stage", lambda run: _last(run, "trainable_by_stage")),
    ]
    for label, read in costs if _strategies(comparison) else costs[:2]:
        known = [(setting, setting.mean(read(run) for run in setting.runs)) for setting in comparison.best]
        rows = [(setting, max(value, 1e-3) if "seconds" in label else value) for setting, value in known if value]
        if len(rows) < 2:
            continue
        made.append(_against(comparison, label, rows))
    return made


def _last(run: Run, key: str) -> float | None:
    """What the last gradient stage of a run had of something; None where there is none."""
    return list(by_stage.values())[-1] if (by_stage := run.result.get(key)) else None


def _strategies(comparison: Comparison) -> bool:
    """Whether some method is here with several settings that do not train equally many numbers in their last stage."""
    trained: dict[str, set[float | None]] = {}
    for setting in comparison.best:
        trained.setdefault(setting.method.partition(" ")[0], set()).add(_last(setting.runs[0], "trainable_by_stage"))
    return any(len(counts - {None}) > 1 for counts in trained.values())


def _against(comparison: Comparison, label: str, rows: list[tuple[Setting, float]]) -> Figure:
    palette = shade(comparison)
    canvas, (axis,) = panel()
    points = [(setting.method, value, comparison.summary(setting).mean) for setting, value in rows]
    wide = max(x for _, x, _ in points) >= 8 * min(x for _, x, _ in points)
    for name, x, y in points:
        told(axis.plot(x, y, "o", color=palette[name], ms=7), f"{name}: {y:.4f} at {x:.3g} {label}")
    if wide:
        axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(_short))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if not wide:
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set_title(f"quality against {label.removesuffix(' per run')}", loc="left", fontsize=10)
    axis.margins(x=0.3, y=0.12)
    _labels(axis, points)
    axis.grid(color=LINE)
    axis.set(xlabel=label + (" (log scale)" if wide else ""), ylabel=f"{comparison.part_name} {comparison.metric}")
    description = "; ".join(f"{setting.method} {value:.3g}" for setting, value in rows)
    seconds = "Training and evaluation, the run's share of its compiled program, without compilation."
    if label != PER_RUN:
        seconds = "Steps and validations of the last stage alone, the run's share, without compilation."
    counted = "Numbers that gradient steps move; closed forms have none and are not shown."
    caption = seconds if "seconds" in label else counted
    return finish(canvas, f"Test {comparison.metric} against {label}: {description}", caption)


def _short(x: float, _: Any) -> str:
    """A tick of up to millions in few letters."""
    if x >= 1e6:
        return f"{x / 1e6:g} M"
    if x >= 1e4:
        return f"{x / 1e3:g} k"
    return f"{x:,.0f}" if x >= 100 else f"{x:g}"


def _labels(axis: Axes, points: list[tuple[str, float, float]]) -> None:
    """The points' names to their right, each moved down until it clears all other points and the names above it."""
    axis.autoscale_view()
    places = axis.transData.transform([(x, y) for _, x, y in points])
    taken: list[tuple[float, float, float]] = []
    for at in np.argsort(-places[:, 1]):
        x, y = places[at]
        line, end = y, x + LETTER * len(points[at][0])
        others = [(a - DOT, a + DOT, b) for i, (a, b) in enumerate(places) if i != at]
        while met := [of for left, right, of in [*taken, *others] if x < right and left < end and abs(of - line) < APART]:
            line = min(met) - APART
        taken.append((x, end, line))
        offset = (7, (line - y) * 72 / 100 - 3)
        arrow = {"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkA": 0, "shrinkB": 4} if line < y else None
        name, *place = points[at]
        axis.annotate(name, tuple(place), offset, textcoords="offset points", fontsize=8.5, color=INK, arrowprops=arrow)


def seconds(runs: list[Run]) -> float:
    """All of a sweep's training and evaluation, in seconds."""
    return float(sum(run.seconds or 0.0 for run in runs))

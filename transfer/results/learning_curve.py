"""The learning curve of one run, written as SVG: drawing it with a plotting library took longer than many a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 340, 180  # of one panel's axes, in pixels
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 30, 45  # what surrounds them
LOSS, METRIC = "#4c6a92", "#b5543c"


def learning_curve(records: Sequence[dict[str, Any]], result: dict[str, Any]) -> str:
    """Loss and validation metric by step as SVG, one row per gradient stage, the selected step marked."""
    stages = list(dict.fromkeys(record["stage"] for record in records))
    metric, sign = result["select"]["metric"], result["select"]["sign"]
    across, down, panels = WIDTH + LEFT + RIGHT, HEIGHT + TOP + BOTTOM, []
    for row, stage in enumerate(stages):
        rows = [record for record in records if record["stage"] == stage]
        steps = [float(record["step"]) for record in rows]
        chosen = result["selected"].get(stage) or max(rows, key=lambda record: sign * record[metric])
        mark = (float(chosen["step"]), float(chosen[metric]))
        of_loss = _panel(f"stage {stage}", "training loss", steps, [record["loss"] for record in rows], LOSS)
        of_metric = _panel(
            f"stage {stage}", f"validation {metric}", steps, [record[metric] for record in rows], METRIC, mark
        )
        for column, panel in enumerate((of_loss, of_metric)):
            panels.append(f'<g transform="translate({column * across + LEFT} {row * down + TOP + 30})">{panel}</g>')
    title = f"{result['method']} on {result['domain']}, {result['task']}, seed {result['seed']}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * across} {len(stages) * down + 30}" '
        f'width="{2 * across}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f"{_text(across, 22, title, size=14)}{''.join(panels)}</svg>\n"
    )


def _panel(
    title: str, label: str, xs: Sequence[float], ys: Sequence[float], colour: str, mark: tuple[float, float] | None = None
) -> str:
    """Axes with a grid, the line through the points that are finite, and the selected point with its value."""
    points = [(x, float(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    x_ticks, y_ticks = _ticks([x for x, _ in points]), _ticks([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        (left, right), (low, high) = ((ticks[0], ticks[-1]) for ticks in (x_ticks, y_ticks))
        return WIDTH * (x - left) / (right - left), HEIGHT * (1 - (y - low) / (high - low))

    parts = [_text(WIDTH / 2, -8, title, size=12), _text(WIDTH / 2, HEIGHT + 34, "step")]
    parts.append(f'<g transform="rotate(-90)">{_text(-HEIGHT / 2, -52, label)}</g>')
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        parts.append(_line([(x, 0), (x, HEIGHT)], "#ddd", 1) + _text(x, HEIGHT + 16, f"{tick:g}"))
    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        parts.append(_line([(0, y), (WIDTH, y)], "#ddd", 1) + _text(-6, y + 4, f"{tick:g}", anchor="end"))
    parts.append(_line([place(*point) for point in points], colour, 1.5))
    if mark is not None and math.isfinite(mark[1]):
        x, y = place(*mark)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        parts.append(_text(WIDTH, -8, f"● selected: {mark[1]:.4f}", anchor="end", fill=colour))
    return "".join(parts)


def _ticks(values: Sequence[float], most: int = 6) -> list[float]:
    """At most `most` round numbers, evenly apart, from at or below the least value to at or above the greatest."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-30):  # one value: some room around it
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    power = 10.0 ** math.floor(math.log10((high - low) / (most - 1)))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first < most:
            break
    return [round(i * step, 12) for i in range(first, last + 1)]


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, words: str, size: int = 11, anchor: str = "middle", fill: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'

"""Matplotlib figures as inline SVG whose colours are the page's own, so that they follow light and dark mode."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

# Stand-ins for the page's variables: drawn as these, written as those.
INK, LINE, MUTED, PAGE, GOOD, BAD = (f"#00000{number}" for number in range(1, 7))
SERIES = [f"#0001{number:02x}" for number in range(12)]
NAMES = {
    INK: "currentColor",
    LINE: "var(--line)",
    MUTED: "var(--muted)",
    PAGE: "var(--page)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
}
NAMES |= {code: f"var(--c{number})" for number, code in enumerate(SERIES)}
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}
WIDTH = 3.9  # inches: 374 pixels of a page, which a phone shows at its full size
PIXELS = 96 / 72  # of a page in a point
_numbers = count()


class Figure(NamedTuple):
    """A figure of the page: SVG, what it shows for those who cannot see it, and the caption under it."""

    svg: str
    alt: str
    caption: str


def panel(width: float = WIDTH, height: float = 3.1, columns: int = 1, share: bool = False) -> tuple[Canvas, list[Axes]]:
    """An empty figure in inches, its columns with `share` on the same axes; one of the default width fits a phone."""
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        axes = canvas.subplots(1, columns, sharex=share, sharey=share, squeeze=False)[0]
    return canvas, list(axes)


def told(artist: Artist | Sequence[Artist], text: str) -> None:
    """Say what an artist shows to those who point at it."""
    for one in artist if isinstance(artist, Sequence) else [artist]:
        one.set_gid(f"told:{text}")


def legend(axis: Axes, **words: Any) -> None:
    """The legend of an axis in the page's ink: matplotlib takes its colours when it is made."""
    with mpl.rc_context(STYLE):
        axis.legend(**{"fontsize": 8.5, "title_fontsize": 8.5, **words})


def finish(canvas: Canvas, alt: str, caption: str) -> Figure:
    """Write the SVG: colours to variables, ids made unique in the page, titles for screen readers and pointers."""
    number = next(_numbers)
    text = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"figure {number}"}):
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="told:([^"]*)">', r"<g><title>\1</title>", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', lambda match: f"{match[1]}g{number}-", svg)
    svg = re.sub(r"#000[01][0-9a-f]{2}\b", lambda match: NAMES.get(match[0], match[0]), svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(
        r'width="([\d.]+)pt" height="[\d.]+pt"',
        lambda match: f'style="max-width: {PIXELS * float(match[1]):.0f}px"',
        svg,
        count=1,
    )
    label = html.escape(alt, quote=True)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return Figure(svg.strip(), alt, caption)


def standing_alone(svg: str) -> str:
    """A figure outside of the page: with the page's colours in light mode in place of their names."""
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    light = dict(re.findall(r"--([\w-]+): ([^;]+);", page.partition(":root {")[2].partition("}")[0]))
    return re.sub(r"var\(--([\w-]+)\)", lambda match: light.get(match[1], "currentColor"), svg)


def colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour of the page for every method, the same in all figures."""
    return {method: SERIES[number % len(SERIES)] for number, method in enumerate(methods)}

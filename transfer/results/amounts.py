"""How much more of something, in words for people: `712 instead of 650 readers …: 62 more (95 % interval 20 to 104).`"""

from __future__ import annotations

import numpy as np


def instead(ours: float, theirs: float, gap: float, low: float, high: float, what: str) -> str:
    """One figure beside another, their difference, and its 95 % interval; low and high are NaN where there is none."""
    tested = np.isfinite(low)
    word = "more" if gap >= 0 else "fewer"
    sure = f" (95 % interval {whole(low, '+')} to {whole(high, '+')})" if tested else ""
    shown = ", which may be chance" if tested and low <= 0 <= high else ""
    return f"{whole(ours)} instead of {whole(theirs)} {what}: {whole(abs(gap))} {word}{sure}{shown}."


def whole(value: float, sign: str = "") -> str:
    """A number for people: whole from 20 on, or where it is; else with a decimal."""
    digits = 0 if abs(value) >= 20 or value == round(value) else 1
    return f"{value:{sign},.{digits}f}".replace("-", "−")

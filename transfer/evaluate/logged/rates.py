"""What came of impressions: click-through, conversion, revenue and feedback, by arm, group and position.

CTR = clicks / impressions           conversion = purchases after a click / clicks
revenue = Σ price of what was bought           revenue per thousand = 1,000 · revenue / impressions
feedback rate = positive / all feedback
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from transfer.evaluate.significance import LEVEL

Array = NDArray[np.float64]
Z = float(stats.norm.ppf(0.5 + LEVEL / 2))


def rates(rows: pl.DataFrame, by: Sequence[str] = ("arm",), draws: int = 2000, seed: int = 0) -> pl.DataFrame:
    """One row per value of `by`, with each figure that the log has columns for and the ends of its 95 % interval.

    rows: as `transfer.data.logs.read.Log` has them. Shares have Wilson's interval, with as many independent impressions as
    readers leave (`wilson`); revenue per thousand has the bootstrap's over readers (impressions, where nobody is named).
    """
    told = [dict(zip(by, key, strict=True)) | _of(part, draws, seed) for key, part in rows.group_by(by)]
    return pl.DataFrame(told).sort(by)


def _of(rows: pl.DataFrame, draws: int, seed: int) -> dict[str, float]:
    unit = rows["user"].rank("dense").cast(pl.Int64).to_numpy() - 1 if "user" in rows else np.arange(len(rows))
    found: dict[str, float] = {"impressions": len(rows)}
    every = np.ones(len(rows))
    number = {name: rows[name].fill_null(0).cast(pl.Float64).to_numpy() for name in rows.columns if name in _NUMBERS}
    if (click := number.get("click")) is not None:
        found |= {"clicks": int(click.sum())} | _share("ctr", click, every, unit)
    if (bought := number.get("purchase")) is not None:
        found["purchases"] = int(bought.sum())
        found |= _share("conversion", bought * click, click, unit) if click is not None else {}
    if (price := number.get("price")) is not None and bought is not None:
        found["revenue"] = float(price @ bought)
        low, high = bootstrap_ratio(1000 * price * bought, every, unit, draws, seed)
        found |= {"rpm": 1000 * found["revenue"] / len(rows), "rpm_low": low, "rpm_high": high}
    if (liked := number.get("feedback")) is not None:
        told = rows["feedback"].is_not_null().cast(pl.Float64).to_numpy()
        found |= {"feedback": int(told.sum())} | _share("feedback_rate", liked, told, unit)
    return found


_NUMBERS = ("click", "purchase", "price", "feedback")


def _share(name: str, yes: Array, of: Array, unit: NDArray[np.int64]) -> dict[str, float]:
    count = float(of.sum())
    low, high = wilson(float(yes.sum()), count, design_effect(yes, of, unit))
    return {name: float(yes.sum()) / count if count else float("nan"), f"{name}_low": low, f"{name}_high": high}


def wilson(yes: float, count: float, effect: float = 1.0) -> tuple[float, float]:
    """The 95 % score interval of a share yes / count (Wilson 1927), with n = count / effect independent trials:

    (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n)
    """
    if not count:
        return float("nan"), float("nan")
    n, p = count / effect, yes / count
    middle, half = p + Z**2 / (2 * n), Z * np.sqrt(p * (1 - p) / n + (Z / (2 * n)) ** 2)
    return max(0.0, float((middle - half) / (1 + Z**2 / n))), min(1.0, float((middle + half) / (1 + Z**2 / n)))


def design_effect(yes: Array, of: Array, unit: NDArray[np.int64]) -> float:
    """How many times the variance of a share is larger than that of independent trials, since a reader's are alike; 1 at
    least: G/(G-1) Σ_g (Σ_{i∈g} yes_i - p of_i)² / (n p (1 - p)) over readers g (Kish 1965)."""
    count, groups = float(of.sum()), int(unit.max(initial=-1)) + 1
    p = float(yes.sum()) / count if count else 0.0
    if groups < 2 or not 0 < p < 1:
        return 1.0
    rest = np.bincount(unit, weights=yes - p * of)
    return max(1.0, groups / (groups - 1) * float(rest @ rest) / (count * p * (1 - p)))


def bootstrap_ratio(
    above: Array, below: Array, unit: NDArray[np.int64], draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of Σ above / Σ below [n], units drawn with replacement; NaN for fewer than two units."""
    sums = np.column_stack([np.bincount(unit, weights=column) for column in (above, below)])
    if len(sums) < 2:
        return float("nan"), float("nan")
    # Units without anything above differ in nothing but what is below: few groups of like units stand for many.
    kinds, sizes = np.unique(sums, axis=0, return_counts=True)
    random, together = np.random.default_rng(seed), max(1, 2**22 // len(kinds))
    parts = [min(together, draws - first) for first in range(0, draws, together)]
    drawn = np.concatenate([random.multinomial(len(sums), sizes / len(sums), part) @ kinds for part in parts])
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

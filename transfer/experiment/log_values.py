"""What policies would have brought, from a log, and whether it supports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from numpy.typing import NDArray

from transfer.data.logs.read import Log
from transfer.errors import TransferError, unknown
from transfer.evaluate.logged.estimate import (
    Estimates,
    Logged,
    bootstrap,
    estimate,
    interval,
    logged,
    percentiles,
)
from transfer.evaluate.logged.estimators import ESTIMATORS, limits_of
from transfer.evaluate.logged.pairs import PAIRED, difference
from transfer.experiment.log_policies import Contexts, Policy, numbered
from transfer.experiment.log_slates import slates_of

# Without these nothing is said of a policy: impressions and rewarded impressions that its weights leave, the share of its
# choices that the log shows nowhere, and how far the mean weight may be from 1.
LEAST_EFFECTIVE, LEAST_EVENTS, MOST_MISSING, MOST_OFF = 100, 10, 0.05, 0.1

PROPENSITIES = ("log", "frequency")


@dataclass(frozen=True)
class How:
    """What is asked of a log. reward: click, purchase, revenue or feedback (None: the first that it has); by: what rates
    are told by; temperature: T of runs; propensities: `log`, as logged, or `frequency`, how often an item is shown at its
    position; candidates: the only items that runs may show; clip, switch, shrink: the limits of `limits_of`; draws: of the
    bootstrap (0: intervals from standard errors)."""

    reward: str | None = None
    by: tuple[str, ...] = ("arm",)
    temperature: float | None = None
    propensities: str = "log"
    candidates: tuple[str, ...] | None = None
    clip: float | None = None
    switch: float | None = None
    shrink: float | None = None
    draws: int = 0
    seed: int = 0


def check(how: How) -> None:
    """Raise TransferError, one line, for settings that are out of range."""
    for name in ("temperature", "clip", "switch", "shrink"):
        value = getattr(how, name)
        if value is not None and not 0 < value < np.inf:
            raise TransferError(f"{name}={value}: a number above 0 is needed")
    if how.draws < 0:
        raise TransferError(f"draws={how.draws}: write 0, for intervals from standard errors, or more")
    if how.propensities not in PROPENSITIES:
        raise TransferError(unknown("propensities", how.propensities, PROPENSITIES))
    if how.candidates is not None and not how.candidates:
        raise TransferError("candidates: there are none; give ids of items")


def values_of(
    log: Log, contexts: Contexts, policies: Sequence[Policy], against: Policy | None, reward: str, how: How
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None]:
    """The values of policies, with their differences to one (None: what the log brought), what the log supports, and
    the values of whole lists where it says what was shown together.

    Raises TransferError, one line, where it does not.
    """
    arrays, cell = arrays_of(log, contexts, reward, how)
    limits = limits_of(len(log.rows), how.clip, how.switch, how.shrink)
    every = [*policies, *([against] if against else [])]
    tables = jnp.asarray(np.stack([policy.table for policy in every]), jnp.float32)
    found = estimate(arrays, tables, limits)
    shown = _counts(cell, np.asarray(arrays.item), (arrays.cells, len(contexts.items))) > 0
    support = _support(every, found, len(log.rows), [_missing(one.table, contexts.of, cell, shown) for one in every])
    for told in support.iter_rows(named=True):
        refuse_without_support(told, reward)
    low, high = interval(found.value, found.error, arrays.units)
    if how.draws:
        low, high = percentiles(bootstrap(arrays, tables, jax.random.key(how.seed), limits, how.draws))
    low = np.maximum(low, 0.0)  # no reward is negative: an interval that is cut there covers no less
    less = difference(arrays, tables[: len(policies)], tables[-1] if against else None, limits)
    ends = interval(less.value, less.error, arrays.units)
    rows = []
    for p, policy in enumerate(policies):
        for e, name in enumerate(PAIRED):
            row: dict[str, Any] = {"policy": policy.name, "estimator": name, "value": None, "low": None, "high": None}
            if e < len(ESTIMATORS):
                row |= {"value": float(found.value[p, e]), "low": float(low[p, e]), "high": float(high[p, e])}
            of_pair = (float(less.value[p, e]), float(ends[0][p, e]), float(ends[1][p, e]))
            rows.append(row | dict(zip(("difference", "difference_low", "difference_high"), of_pair, strict=True)))
    return pl.DataFrame(rows, infer_schema_length=None), support, slates_of(log.rows, arrays, policies)


def arrays_of(log: Log, contexts: Contexts, reward: str, how: How) -> tuple[Logged, NDArray[np.int64]]:
    """The log on the device, and the cell of every impression for the model of rewards: its position."""
    rows = log.rows
    item = rows["item"].replace_strict(contexts.place, return_dtype=pl.Int64).to_numpy()
    cell, cells = numbered(rows, ["position"] if "position" in rows.columns else [])
    unit = next((numbered(rows, [role])[0] for role in ("user", "slate") if role in rows.columns), None)
    shape = (len(cells), len(contexts.items))
    if how.propensities == "frequency":
        counts = _counts(cell, item, shape)
        chances = (counts / counts.sum(1, keepdims=True))[cell, item]
    else:
        chances = _propensities(log)
    revenue = reward == "revenue"
    gain = rows["purchase"] * rows["price"].fill_null(0.0) if revenue else rows[reward].fill_null(0)
    return logged(contexts.of, item, chances, gain.to_numpy(), cell, unit, how.seed), cell


def _counts(cell: NDArray[np.int64], item: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float64]:
    """How often every item was shown in every cell, [cells, items]."""
    counts = np.zeros(shape)
    np.add.at(counts, (cell, item), 1.0)
    return counts


def _propensities(log: Log) -> NDArray[np.float64]:
    if "propensity" not in log.rows.columns:
        raise TransferError(
            f"{log.name}: it has no propensities, the chances of what was shown: name the column, propensity=COLUMN, or "
            "say --propensities frequency where what was shown did not depend on the reader"
        )
    return log.rows["propensity"].to_numpy()


def _missing(table: NDArray[np.float64], context: Any, cell: Any, shown: NDArray[np.bool_]) -> float:
    """The share of a policy's choices that the log shows nowhere in their cell."""
    lost = table @ (~shown).T.astype(np.float64)
    return float(lost[context, cell].mean())


def _support(policies: Sequence[Policy], found: Estimates, impressions: int, missing: list[float]) -> pl.DataFrame:
    numbers = {
        "effective": found.effective,
        "events": found.events,
        "mean_weight": found.mean_weight,
        "largest_weight": found.largest,
        "clipped": found.clipped,
    }
    return pl.DataFrame(
        {
            "policy": [policy.name for policy in policies],
            "temperature": pl.Series([policy.temperature for policy in policies], dtype=pl.Float64),
            "impressions": [impressions] * len(policies),
            **{name: np.asarray(values, np.float64) for name, values in numbers.items()},
            "missing": missing,
        }
    )


def refuse_without_support(told: dict[str, Any], reward: str) -> None:
    """Raise TransferError, one line, where a log cannot speak of a policy; told: a row of the table of support."""
    name, n, mean = told["policy"], told["impressions"], told["mean_weight"]
    error = mean * np.sqrt(max(n / max(told["effective"], 1e-9) - 1, 0) / n)
    if told["missing"] > MOST_MISSING:
        raise TransferError(
            f"{name}: {told['missing']:.0%} of its choices are items that the log never shows there, and nothing is known "
            "of them; narrow the candidates to what is shown, or raise the temperature"
        )
    if not told["effective"] >= LEAST_EFFECTIVE:
        raise TransferError(
            f"{name}: it is so far from what was shown that {n:,} impressions speak for it like {told['effective']:.0f}, "
            f"and {LEAST_EFFECTIVE} are needed: raise the temperature, or log more"
        )
    if not told["events"] >= LEAST_EVENTS:
        raise TransferError(
            f"{name}: impressions with {reward} speak for it like {told['events']:.1f}, and {LEAST_EVENTS} are needed: "
            "raise the temperature, or log more"
        )
    if abs(mean - 1) > max(MOST_OFF, 4 * error):
        raise TransferError(
            f"{name}: its mean weight is {mean:.2f} ± {error:.2f} and has to be 1: the propensities are not the chances "
            "of what was shown, or what it chooses could not be shown"
        )

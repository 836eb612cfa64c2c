"""Test values by user: the rows on which methods are compared in pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transfer.evaluate.significance import Units
from transfer.report.comparison.runs import Run
from transfer.results.run_folder import PER_USER

Array = NDArray[np.float64]
# Users by their number of training events in the target: cold (none), sparse, warm.
GROUPS = {"all": (0, None), "cold": (0, 0), "sparse": (1, 4), "warm": (5, None)}


class Tested(NamedTuple):
    """One run's test by user: ids, training events and hidden events [users], values {name: float64 [users]}.

    classes: the true class of each example; None where users or several classes are tested.
    """

    user: NDArray[np.int64]
    history: NDArray[np.int64]
    events: Array
    values: dict[str, Array]
    classes: NDArray[np.int64] | None = None


class Difference(NamedTuple):
    """Two methods on the same users: `linear` [rows] has the difference of the metric as its weighted mean, `plain` [rows]
    is that of each user's own value; by_seed holds the metric's difference for every seed and split."""

    linear: Array
    plain: Array
    units: Units
    by_run: Array


def read_tested(run: Run) -> Tested | None:
    """The per-user table of a run; None where it has none."""
    path = run.folder / PER_USER
    if not path.exists():
        return None
    table = pl.read_parquet(path)
    if not {"user", "history", "events"} <= set(table.columns):
        return None
    ids = {"user", "history", "events"}
    values = {name: table[name].cast(pl.Float64).to_numpy() for name in table.columns if name not in ids | {"class"}}
    classes = table["class"].cast(pl.Int64).to_numpy() if "class" in table.columns else None
    user, history = (table[name].cast(pl.Int64).to_numpy() for name in ("user", "history"))
    return Tested(user, history, table["events"].cast(pl.Float64).to_numpy(), values, classes)


def in_group(history: NDArray[np.int64], group: str) -> NDArray[np.bool_]:
    low, high = GROUPS[group]
    return (history >= low) & (history <= (np.iinfo(np.int64).max if high is None else high))


def members(test: Tested, group: str) -> NDArray[np.bool_]:
    """Who of a test belongs to a group of users, or to a class: `class 3`."""
    if not group.startswith("class "):
        return in_group(test.history, group)
    return np.zeros(len(test.user), bool) if test.classes is None else test.classes == int(group.removeprefix("class "))


def column_of(metric: str) -> str:
    """The per-user column behind a metric: squared errors for rmse, otherwise the metric itself."""
    return "mse" if metric == "rmse" else metric


def linearised(metric: str, value: Array, events: Array) -> tuple[Array, Array]:
    """Values and weights [rows] whose weighted mean is the metric: (v, w), Σ w = 1.

    Ranking weighs users alike. Errors weigh by events; for RMSE = R, v = R + (mse_u - R²) / 2R, the first-order change of R
    (delta method), so that an interval of means is one of RMSE.
    """
    if metric not in ("rmse", "mae"):
        return value, np.full(len(value), 1 / max(len(value), 1))
    weight = events / events.sum()
    if metric == "mae":
        return value, weight
    root = float(np.sqrt(weight @ value))
    return (root + (value - root**2) / (2 * root) if root else value), weight


def difference(
    metric: str, ours: dict[tuple[str, int], Tested], theirs: dict[tuple[str, int], Tested], group: str = "all"
) -> Difference | None:
    """Ours minus theirs over the worlds and seeds that both have; None where nothing can be compared.

    A row is a user in a split, averaged over the seeds of that split.
    """
    column = column_of(metric)
    both = [
        pair
        for pair in ours
        if pair in theirs and column in ours[pair].values and np.array_equal(ours[pair].user, theirs[pair].user)
    ]
    linear, plain, split, user, weights, by_run = [], [], [], [], [], []
    for number, fingerprint in enumerate(dict.fromkeys(world for world, _ in both)):
        pairs = [pair for pair in both if pair[0] == fingerprint]
        first = ours[pairs[0]]
        rows = members(first, group)
        if not rows.any():
            continue
        steps = []
        for pair in pairs:
            (a, weight), (b, _) = (
                linearised(metric, tested[pair].values[column][rows], first.events[rows]) for tested in (ours, theirs)
            )
            steps.append(a - b)
            by_run.append(float(weight @ (a - b)))
        linear.append(np.mean(steps, axis=0))
        plain.append(np.mean([ours[p].values[column][rows] - theirs[p].values[column][rows] for p in pairs], axis=0))
        weights.append(weight)
        user.append(first.user[rows])
        split.append(np.full(int(rows.sum()), number))
    if not linear:
        return None
    units = Units(np.concatenate(split), np.concatenate(user), np.concatenate(weights))
    return Difference(np.concatenate(linear), np.concatenate(plain), units, np.array(by_run))

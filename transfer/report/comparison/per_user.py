"""Test values by user: the rows on which methods are compared in pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transfer.errors import TransferError
from transfer.evaluate.significance import Units
from transfer.report.comparison.files import read_parquet
from transfer.report.comparison.runs import Run
from transfer.results.run_folder import PER_USER

Array = NDArray[np.float64]
# Users by their number of training events in the target: cold (none), sparse, warm.
LIKE_SHARE = "like_share@"
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


class Sample(NamedTuple):
    """Values of users in splits, of one method or of two on the same users: `linear` [rows] has the metric (or its
    difference) as its weighted mean, `plain` [rows] is each user's own value; by_run holds the metric of every run."""

    linear: Array
    plain: Array
    units: Units
    by_run: Array


Tests = dict[tuple[str, int], Tested]  # by world and seed


def read_tested(run: Run, name: str = PER_USER) -> Tested | None:
    """The per-user table of a run; None where it has none, or none that can be read (the run says so)."""
    path = run.folder / name
    if not path.exists():
        return None
    ids = ("user", "history", "events")
    try:
        table = read_parquet(path, ids, unread=("id",))
        if len(table) and not (table["events"].min() > 0 and table["history"].min() >= 0):  # type: ignore[operator]
            raise TransferError(f"{path.name}: fewer events than none")
        if "mse" in table.columns and (table["mse"] < 0).any():
            raise TransferError(f"{path.name}: squared errors below 0")
    except TransferError as error:
        run.note(str(error))
        return None
    values = {name: table[name].cast(pl.Float64).to_numpy() for name in table.columns if name not in (*ids, "class")}
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
    (delta method), so that an interval of means is one of RMSE. A like_share is R = Σ likes / Σ judged, with what is judged
    in each list in the place of events: v = R + (likes_u - R judged_u) / mean judged.
    """
    if metric.startswith(LIKE_SHARE):
        likes = np.where(events > 0, value * events, 0.0)
        share, mean = likes.sum() / max(events.sum(), 1e-9), max(events.mean(), 1e-9)
        return share + (likes - share * events) / mean, np.full(len(value), 1 / len(value))
    if metric not in ("rmse", "mae"):
        return value, np.full(len(value), 1 / max(len(value), 1))
    weight = events / events.sum()
    if metric == "mae":
        return value, weight
    root = float(np.sqrt(weight @ value))
    return (root + (value - root**2) / (2 * root) if root else value), weight


def _counted(metric: str, test: Tested) -> Array:
    """What a user's value is a mean of: her hidden events, or what is judged of her list."""
    judged = metric.replace("like_share", "judged")
    return test.values.get(judged, test.events) if metric.startswith(LIKE_SHARE) else test.events


def difference(metric: str, ours: Tests, theirs: Tests, group: str = "all") -> Sample | None:
    """Ours minus theirs over the worlds and seeds that both have; None where nothing can be compared."""
    both = [pair for pair in ours if pair in theirs and np.array_equal(ours[pair].user, theirs[pair].user)]
    return _sample(metric, {pair: ours[pair] for pair in both}, theirs, group)


def level(metric: str, tests: Tests, group: str = "all") -> Sample | None:
    """The values of one method; None where it has none by user."""
    return _sample(metric, tests, None, group)


def _sample(metric: str, tests: Tests, less: Tests | None, group: str) -> Sample | None:
    """A row is a user in a split, averaged over the seeds of that split: of `tests`, with `less` taken away.

    Users of whom a run has no value are left out: of a list without a text there is no diversity of texts.
    """
    column = column_of(metric)
    pairs = [pair for pair in tests if column in tests[pair].values and (less is None or column in less[pair].values)]
    linear, plain, split, user, weights, by_run = [], [], [], [], [], []
    for number, world in enumerate(dict.fromkeys(world for world, _ in pairs)):
        own = [pair for pair in pairs if pair[0] == world]
        first = tests[own[0]]
        own = [pair for pair in own if np.array_equal(tests[pair].user, first.user)]
        rows = members(first, group)
        both = [test for pair in own for test in (tests[pair], *([less[pair]] if less is not None else []))]
        if not metric.startswith(LIKE_SHARE):
            rows &= ~np.any([np.isnan(test.values[column]) for test in both], axis=0)
        if not rows.any():
            continue
        steps, values = [], []
        for pair in own:
            value = tests[pair].values[column][rows]
            step, weight = linearised(metric, value, _counted(metric, tests[pair])[rows])
            if less is not None:
                other = less[pair].values[column][rows]
                step = step - linearised(metric, other, _counted(metric, less[pair])[rows])[0]
                value = value - other
            steps.append(step)
            values.append(value)
            by_run.append(float(weight @ step))
        linear.append(np.mean(steps, axis=0))
        plain.append(np.mean(values, axis=0))
        weights.append(weight)
        user.append(first.user[rows])
        split.append(np.full(int(rows.sum()), number))
    if not linear:
        return None
    units = Units(np.concatenate(split), np.concatenate(user), np.concatenate(weights))
    return Sample(np.concatenate(linear), np.concatenate(plain), units, np.array(by_run))

"""What policies would have brought by whole lists, from a log that says what was shown together."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import polars as pl

from transfer.evaluate.logged.estimate import Logged, interval, model_of
from transfer.evaluate.logged.slates import SLATES, slate_values
from transfer.experiment.log_policies import Policy, numbered


def slates_of(rows: pl.DataFrame, arrays: Logged, policies: Sequence[Policy]) -> pl.DataFrame | None:
    """The values of lists by policy and estimator, with 95 % intervals; None where the log does not say what was shown
    together, or its lists do not all have the same positions.

    A policy draws every position of a list by itself, so that the weight of an item is that of its row.
    """
    if not {"slate", "position"} <= set(rows.columns):
        return None
    shown = rows.group_by("slate").agg(pl.col("position").sort())
    if shown["position"].n_unique() > 1 or shown["position"][0].n_unique() < max(len(shown["position"][0]), 2):
        return None
    order = rows.select("slate", "position").with_row_index("row").sort("slate", "position")["row"].to_numpy()
    by_slate = order.reshape(len(shown), -1).T  # [positions, slates]
    model = model_of(arrays, policies[0].table.shape[1])
    context, item, cell, fold = (np.asarray(array) for array in (arrays.context, arrays.item, arrays.cell, arrays.fold))
    without, chance = np.asarray(model.without), np.asarray(arrays.propensity)
    predicted = without[fold, cell, item]
    weight = np.stack([policy.table[context, item] / chance for policy in policies])
    expected = np.stack([np.einsum("ca,fka->fck", policy.table, without)[fold, context, cell] for policy in policies])
    unit, units = None, len(shown)
    if "user" in rows.columns:
        of, table = numbered(rows, ["user"])
        unit, units = jnp.asarray(of[by_slate[0]], jnp.int32), len(table)
    found = slate_values(
        jnp.asarray(weight[:, by_slate], jnp.float32),
        arrays.reward[by_slate],
        jnp.asarray(predicted[by_slate], jnp.float32),
        jnp.asarray(expected[:, by_slate], jnp.float32),
        unit,
        units,
    )
    low, high = interval(found[0], found[1], units)
    told = [
        {"policy": policy.name, "estimator": name, "value": float(found[0][p, e]), "low": low[p, e], "high": high[p, e]}
        for p, policy in enumerate(policies)
        for e, name in enumerate(SLATES)
    ]
    return pl.DataFrame(told)

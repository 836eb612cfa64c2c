"""Values of many policies from one log: one compiled program over policies, and one over bootstrap draws of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from transfer.evaluate.logged.delta import Terms, error_of, influences, poisson, redrawn
from transfer.evaluate.logged.estimators import Limits, terms_of, values
from transfer.evaluate.logged.rewards import FOLDS, STRENGTH, Model, reward_model
from transfer.evaluate.significance import LEVEL

TOGETHER = 16  # bootstrap draws that are there at once


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Logged:
    """A log as arrays of n rows.

    context, item int32: which row and column of a policy's table a row is; cell int32: which of `cells` the model of
    rewards takes it for; propensity, reward float32; unit int32: whose row it is (None: every row is its own), of `units`;
    fold int32.
    """

    context: jax.Array
    item: jax.Array
    cell: jax.Array
    propensity: jax.Array
    reward: jax.Array
    fold: jax.Array
    unit: jax.Array | None
    cells: int = field(metadata={"static": True})
    units: int = field(metadata={"static": True})


class Estimates(NamedTuple):
    """Of every policy: values and standard errors float32 [policies, estimators]; the effective sample size (Σw)² / Σw²,
    the mean weight (1 where the log supports the policy), the largest, the share of weight above the limit of clipped_ips,
    and how many rows the rewards weigh as, (Σ w r)² / Σ (w r)², each float32 [policies]."""

    value: jax.Array
    error: jax.Array
    effective: jax.Array
    mean_weight: jax.Array
    largest: jax.Array
    clipped: jax.Array
    events: jax.Array


def logged(
    context: Any, item: Any, propensity: Any, reward: Any, cell: Any = None, unit: Any = None, seed: int = 0
) -> Logged:
    """A log from arrays [n]; cell: the context where none is given; unit: ids 0 … of readers or slates."""
    cell = context if cell is None else cell
    units = len(reward) if unit is None else int(np.max(unit)) + 1
    order = np.random.default_rng(seed).permutation(units) % FOLDS
    fold = order if unit is None else order[np.asarray(unit)]
    whole = [jnp.asarray(np.asarray(array, np.int32)) for array in (context, item, cell, fold)]
    chances, gains = (jnp.asarray(np.asarray(array, np.float32)) for array in (propensity, reward))
    ids = None if unit is None else jnp.asarray(np.asarray(unit, np.int32))
    return Logged(whole[0], whole[1], whole[2], chances, gains, whole[3], ids, int(np.max(cell)) + 1, units)


def model_of(log: Logged, items: int) -> Model:
    """The model of the log's rewards."""
    return reward_model(log.reward, log.cell, log.item, log.fold, log.cells, items)


def policy_terms(log: Logged, model: Model, table: jax.Array, limits: Limits) -> Terms:
    """The terms of a policy with these chances of items, float32 [contexts, items]."""
    chance = table[log.context, log.item]
    by_fold = jnp.einsum("ca,fka->fck", table, model.without)  # of a context in a cell
    whole = jnp.einsum("ca,ka->ck", table, model.whole)
    # A row's part in q̂: how much chance the contexts of its cell give to its item, shared by the rows that showed it.
    often = jax.ops.segment_sum(
        jnp.ones_like(log.reward), log.context * log.cells + log.cell, table.shape[0] * log.cells
    ).reshape(-1, log.cells)
    part = jnp.einsum("ck,ca->ka", often, table) / (model.shown + STRENGTH)
    added = part[log.cell, log.item] * (log.reward - model.whole[log.cell, log.item])
    return terms_of(
        chance / log.propensity,
        log.reward,
        model.without[log.fold, log.cell, log.item],
        by_fold[log.fold, log.context, log.cell],
        whole[log.context, log.cell] + added - jnp.mean(added),
        limits,
    )


@partial(jax.jit, static_argnames="limits")
def estimate(log: Logged, tables: jax.Array, limits: Limits) -> Estimates:
    """All estimators of policies with the chances `tables`, float32 [policies, contexts, items]."""
    model = model_of(log, tables.shape[-1])

    def of_one(table: jax.Array) -> Estimates:
        terms = policy_terms(log, model, table, limits)
        value, influence = influences(values, terms)
        w, gained = terms["weight"], terms["rewarded"]
        total = jnp.sum(w)
        return Estimates(
            value,
            error_of(influence, log.unit, log.units),
            total**2 / jnp.sum(w**2),
            jnp.mean(w),
            jnp.max(w),
            jnp.sum(jnp.maximum(w - limits.clip, 0.0)) / total,
            jnp.sum(gained) ** 2 / jnp.maximum(jnp.sum(gained**2), jnp.finfo(jnp.float32).tiny),
        )

    return jax.lax.map(of_one, tables)


@partial(jax.jit, static_argnames=("limits", "draws"))
def bootstrap(log: Logged, tables: jax.Array, key: jax.Array, limits: Limits, draws: int) -> jax.Array:
    """The estimators in bootstrap draws of the log's units, float32 [draws, policies, estimators], the same draws for all.

    The model of rewards is kept, and what its errors add to `dm` is in its terms.
    """
    model = model_of(log, tables.shape[-1])

    def some(step: jax.Array) -> jax.Array:
        counts = poisson(jax.random.fold_in(key, step), (TOGETHER, log.units))
        counts = counts if log.unit is None else counts[:, log.unit]
        of_one = lambda table: jax.vmap(values)(redrawn(policy_terms(log, model, table, limits), counts))  # noqa: E731
        return jax.lax.map(of_one, tables).swapaxes(0, 1)

    blocks = jax.lax.map(some, jnp.arange(-(-draws // TOGETHER)))
    return blocks.reshape(-1, *blocks.shape[2:])[:draws]


def interval(value: Any, error: Any, units: int) -> tuple[np.ndarray, np.ndarray]:
    """value ± t(units - 1) · error, 95 %."""
    half = float(stats.t.ppf(0.5 + LEVEL / 2, max(units - 1, 1))) * np.asarray(error, np.float64)
    return np.asarray(value, np.float64) - half, np.asarray(value, np.float64) + half


def percentiles(drawn: Any) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the 95 % percentile interval over the first axis."""
    low, high = np.quantile(np.asarray(drawn, np.float64), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high

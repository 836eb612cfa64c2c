"""The difference of two policies from one log, directly: what one row says of both is not counted as chance twice.

With Δ = (π₁ - π₂) / π₀ = w₁ - w₂, which has mean 0 where the log supports both:

    any estimator    V̂(π₁) - V̂(π₂), with the error of the difference of each row's influences
    delta_beta       mean Δ r - β mean Δ,  β = mean Δ² r / mean Δ²       (Δ-OPE: Jeunen & Ustimenko 2024)
    delta_controls   mean Δ r - βᵀ mean c,  c = (w₁ - 1, w₂ - 1) with mean 0,  β = (mean c cᵀ)⁻¹ mean c Δ r

Without a second policy it is the one that made the log: w₂ = 1.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from transfer.evaluate.logged.delta import Means, Terms, error_of, influences
from transfer.evaluate.logged.estimate import Logged, model_of, policy_terms
from transfer.evaluate.logged.estimators import ESTIMATORS, Limits, terms_as_logged, values

PAIRED = (*ESTIMATORS, "delta_beta", "delta_controls")
RIDGE = 1e-6  # of the controls, which are one where both policies are


class Difference(NamedTuple):
    """Of every first policy against the second: differences and errors float32 [policies, PAIRED]; `apart`: the errors of
    the difference of two estimates that are taken for independent, [policies, estimators]."""

    value: jax.Array
    error: jax.Array
    apart: jax.Array


def _controls(first: Terms, second: Terms, reward: jax.Array) -> Terms:
    """The terms of Δ and of the controls."""
    delta, one, two = first["weight"] - second["weight"], first["weight"] - 1, second["weight"] - 1
    gain = delta * reward
    return {
        "Δr": gain,
        "Δ": delta,
        "ΔΔ": delta**2,
        "ΔΔr": delta * gain,
        "c": jnp.stack([one, two]),
        "cc": jnp.stack([jnp.stack([one * one, one * two]), jnp.stack([one * two, two * two])]),
        "cΔr": jnp.stack([one * gain, two * gain]),
    }


def controlled(m: Means) -> jax.Array:
    """delta_beta and delta_controls from the means of `_controls`, float32 [2]."""
    beta = m["ΔΔr"] / jnp.maximum(m["ΔΔ"], RIDGE)
    controls = jnp.linalg.solve(m["cc"] + RIDGE * jnp.eye(2, dtype=jnp.float32), m["cΔr"])
    return jnp.stack([m["Δr"] - beta * m["Δ"], m["Δr"] - jnp.vdot(controls, m["c"])])


@partial(jax.jit, static_argnames="limits")
def difference(log: Logged, tables: jax.Array, second: jax.Array | None, limits: Limits) -> Difference:
    """Policies with the chances `tables`, float32 [policies, contexts, items], less one, [contexts, items], or less the
    policy that made the log (None)."""
    model = model_of(log, tables.shape[-1])
    other = terms_as_logged(log.reward) if second is None else policy_terms(log, model, second, limits)
    of_other, influence_of_other = influences(values, other)
    error_of_other = error_of(influence_of_other, log.unit, log.units)

    def of_one(table: jax.Array) -> Difference:
        terms = policy_terms(log, model, table, limits)
        own, influence = influences(values, terms)
        of_delta, influence_of_delta = influences(controlled, _controls(terms, other, log.reward))
        both = jnp.concatenate([influence - influence_of_other, influence_of_delta])
        alone = error_of(influence, log.unit, log.units)
        return Difference(
            jnp.concatenate([own - of_other, of_delta]),
            error_of(both, log.unit, log.units),
            jnp.sqrt(alone**2 + error_of_other**2),
        )

    return jax.lax.map(of_one, tables)

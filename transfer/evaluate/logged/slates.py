"""Off-policy values of whole lists: the expected sum of rewards over the positions of a slate.

With w_k = π(a_k | …) / π₀(a_k | …) of position k, given what stands above it:

    independent          Σ_k mean w_k r_k                     a reward depends on its own position (Li et al. 2018)
    reward_interaction   Σ_k mean W_k r_k, W_k = Π_{j≤k} w_j  and on what stands above it (McInerney et al. 2020)
    standard             mean W_K Σ_k r_k                      and on the whole list
    cascade_dr           Σ_k mean W_{k-1} (v_k + w_k (r_k - q̂_k))   the same, doubly robust (Kiyohara et al. 2022)

q̂_k models the reward of position k by the item there, v_k is its mean under π. `sn_…` divides by the mean weight of each
position. The fewer the assumptions, the larger the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from transfer.evaluate.logged.delta import Means, Terms, error_of, influences

SLATES: dict[str, Callable[[Means], jax.Array]] = {
    "independent": lambda m: jnp.sum(m["own r"]),
    "sn_independent": lambda m: jnp.sum(m["own r"] / m["own"]),
    "reward_interaction": lambda m: jnp.sum(m["above r"]),
    "sn_reward_interaction": lambda m: jnp.sum(m["above r"] / m["above"]),
    "standard": lambda m: jnp.sum(m["whole r"]),
    "sn_standard": lambda m: jnp.sum(m["whole r"]) / m["above"][-1],
    "cascade_dr": lambda m: jnp.sum(m["robust"]),
}


def slate_terms(weight: jax.Array, reward: jax.Array, predicted: jax.Array, expected: jax.Array) -> Terms:
    """The terms of n slates of K positions, each float32 [K, n]: w_k, r_k, q̂_k and v_k."""
    above = jnp.cumprod(weight, axis=0)
    before = jnp.concatenate([jnp.ones_like(above[:1]), above[:-1]])
    return {
        "own": weight,
        "own r": weight * reward,
        "above": above,
        "above r": above * reward,
        "whole r": above[-1:] * reward,
        "robust": before * (expected + weight * (reward - predicted)),
    }


@partial(jax.jit, static_argnames="n_units")
def slate_values(
    weight: jax.Array,
    reward: jax.Array,
    predicted: jax.Array,
    expected: jax.Array,
    unit: jax.Array | None = None,
    n_units: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """All of SLATES and their errors, float32 [policies, estimators]; weight, expected: [policies, K, n], reward,
    predicted: [K, n]; unit int32 [n]: whose slate it is."""

    def figures(means: Means) -> jax.Array:
        return jnp.stack([estimator(means) for estimator in SLATES.values()])

    def of_one(policy: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        value, influence = influences(figures, slate_terms(policy[0], reward, predicted, policy[1]))
        return value, error_of(influence, unit, n_units)

    return jax.lax.map(of_one, (weight, expected))

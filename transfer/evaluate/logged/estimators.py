"""Off-policy estimators of the value of a policy π from a log of π₀, each a function of means over the log.

With w = π(a|x) / π₀(a|x), reward r, a model q̂ of rewards and v(x) = Σ_a π(a|x) q̂(x, a):

    dm           mean v                                             direct method
    ips          mean w r                                           inverse propensity score (Horvitz & Thompson 1952)
    clipped_ips  mean min(w, M) r                                   (Ionides 2008)
    snips        mean w r / mean w                                  self-normalised (Swaminathan & Joachims 2015)
    dr           mean v + w (r - q̂)                                 doubly robust (Dudík, Langford & Li 2011)
    sndr         mean v + mean w (r - q̂) / mean w
    switch_dr    mean v + w 1{w ≤ τ} (r - q̂)                        (Wang, Agarwal & Dudík 2017)
    dros         mean v + λ w / (w² + λ) (r - q̂)                    optimistic shrinkage (Su et al. 2020)

M and τ are √n and λ is n where nothing else is asked for: what is cut off then falls faster than the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from transfer.evaluate.logged.delta import Means, Terms

ESTIMATORS: dict[str, Callable[[Means], jax.Array]] = {
    "dm": lambda m: m["direct"],
    "ips": lambda m: m["rewarded"],
    "clipped_ips": lambda m: m["clipped"],
    "snips": lambda m: m["rewarded"] / m["weight"],
    "dr": lambda m: m["expected"] + m["residual"],
    "sndr": lambda m: m["expected"] + m["residual"] / m["weight"],
    "switch_dr": lambda m: m["expected"] + m["switched"],
    "dros": lambda m: m["expected"] + m["shrunk"],
}


class Limits(NamedTuple):
    """Where weights are cut: M of clipped_ips, τ of switch_dr, λ of dros."""

    clip: float
    switch: float
    shrink: float


def limits_of(n: int, clip: float | None = None, switch: float | None = None, shrink: float | None = None) -> Limits:
    """As asked, else by the number of rows: √n, √n, n."""
    root = float(n) ** 0.5
    return Limits(
        *(float(usual if asked is None else asked) for asked, usual in ((clip, root), (switch, root), (shrink, n)))
    )


def values(means: Means) -> jax.Array:
    """All of ESTIMATORS, float32 [estimators]."""
    return jnp.stack([estimator(means) for estimator in ESTIMATORS.values()])


def terms_of(
    weight: jax.Array,
    reward: jax.Array,
    predicted: jax.Array,
    expected: jax.Array,
    direct: jax.Array,
    limits: Limits,
) -> Terms:
    """The terms of a policy, each float32 [n].

    weight: w; predicted: q̂ of what was shown; expected: v, with a q̂ that has not seen the row; direct: v of a q̂ that has,
    with what the row adds to it.
    """
    rest = weight * (reward - predicted)
    return {
        "weight": weight,
        "rewarded": weight * reward,
        "clipped": jnp.minimum(weight, limits.clip) * reward,
        "direct": direct,
        "expected": expected,
        "residual": rest,
        "switched": jnp.where(weight <= limits.switch, rest, 0.0),
        "shrunk": limits.shrink / (weight**2 + limits.shrink) * rest,
    }


def terms_as_logged(reward: jax.Array) -> Terms:
    """Those of the policy that made the log, under which every estimator is the mean reward."""
    one, none = jnp.ones_like(reward), jnp.zeros_like(reward)
    return {**terms_of(one, reward, none, none, reward, Limits(1.0, 1.0, 1.0)), "shrunk": reward}

"""Ranking metrics from a matrix of scores, exact in expectation over a random order of tied items."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

METRICS = ("recall", "ndcg", "mrr", "map", "hit", "precision")


def user_metrics(
    scores: jax.Array, relevant: jax.Array, row: jax.Array, item: jax.Array, ks: tuple[int, ...]
) -> dict[str, jax.Array]:
    """Metrics per user at every k: {name@k: [B]}, zero for rows without a relevant item, NaN where a score is NaN.

    scores float32 [B, items] with -inf for items that are no candidates; relevant bool [B, items] and the same as
    events row, item int32 [E], row = B for padding. An item with g candidates above it, tied with t - 1 others, is
    equally likely at each of the positions g + 1 … g + t; every metric is its expected value over that draw, so a
    constant scorer has recall k / N. Average-rank and optimistic rules misjudge such scorers.
    """
    width, n = scores.shape[0], max(ks)
    ties = _ties(scores, relevant, row, item)
    above, tied = ties["above"], ties["tied"]
    position = jnp.arange(n + 1, dtype=jnp.float32)
    ranks = np.arange(1, n + 1)
    discount = jnp.asarray(np.concatenate([[0.0], np.cumsum(1 / np.log2(ranks + 1))]), jnp.float32)
    harmonic = jnp.asarray(np.concatenate([[0.0], np.cumsum(1 / ranks)]), jnp.float32)

    # survive[e, j]: none of the relevant items of e's tied group stands among the group's first j
    misses = jnp.maximum(tied - ties["relevant_tied"], 0.0)[:, None]
    step = jnp.clip((misses - position[None, :-1]) / jnp.maximum(tied[:, None] - position[None, :-1], 1.0), 0.0, 1.0)
    survive = jnp.concatenate([jnp.ones((row.shape[0], 1)), jnp.cumprod(step, axis=1)], axis=1)

    sums, maxima = [], []
    for k in ks:
        first, last = jnp.minimum(above, k), jnp.minimum(above + tied, k)
        low, high = first.astype(jnp.int32), last.astype(jnp.int32)
        harmonics = harmonic[high] - harmonic[low]
        # given that the item stands at position r, its group has (r - g - 1)(m - 1)/(t - 1) relevant ones before it
        slope = (ties["relevant_tied"] - 1) / jnp.maximum(tied - 1, 1.0)
        before = (ties["relevant_above"] + 1) * harmonics + slope * (last - first - (above + 1) * harmonics)
        sums += [(last - first) / tied, (discount[high] - discount[low]) / tied, before / tied]
        inside = position[None, 1:] <= (last - first)[:, None]  # positions of the group inside the list
        found_at = jnp.where(inside, survive[:, :-1] - survive[:, 1:], 0.0)
        maxima += [jnp.sum(found_at / (above[:, None] + position[None, 1:]), axis=1), jnp.sum(found_at, axis=1)]

    # the sums count every relevant item, the maxima the user's best group, where the first of them stands
    summed = jnp.zeros((width, len(sums))).at[row].add(jnp.stack(sums, axis=1), mode="drop")
    best = jnp.zeros((width, len(maxima))).at[row].max(jnp.stack(maxima, axis=1), mode="drop")
    count = jnp.sum(relevant, axis=1)
    bad = jnp.where(jnp.any(jnp.isnan(scores), axis=1) & (count > 0), jnp.nan, 0.0)
    total = jnp.maximum(count, 1).astype(jnp.float32)
    result: dict[str, jax.Array] = {}
    for i, k in enumerate(ks):
        found, gain, precisions = (summed[:, 3 * i + j] for j in range(3))
        values = {
            "recall": found / total,
            "ndcg": gain / jnp.maximum(discount[jnp.minimum(count, k)], 1e-9),
            "mrr": best[:, 2 * i],
            "map": precisions / jnp.minimum(total, k),
            "hit": best[:, 2 * i + 1],
            "precision": found / k,
        }
        result |= {f"{name}@{k}": value + bad for name, value in values.items()}
    return result


def _ties(scores: jax.Array, relevant: jax.Array, row: jax.Array, item: jax.Array) -> dict[str, jax.Array]:
    """For every relevant event: candidates above it and tied with it (itself included), all and relevant ones [E]."""
    at = jnp.minimum(row, scores.shape[0] - 1)
    of_user, own = scores[at], scores[at, item][:, None]
    greater, equal = of_user > own, of_user == own
    among = relevant[at]

    def count(where: jax.Array) -> jax.Array:
        return jnp.sum(where, axis=1).astype(jnp.float32)

    return {
        "above": count(greater),
        "tied": jnp.maximum(count(equal), 1.0),
        "relevant_above": count(greater & among),
        "relevant_tied": count(equal & among),
    }

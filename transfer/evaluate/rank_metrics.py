"""Ranking metrics from a matrix of scores, exact in expectation over a random order of tied items."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

METRICS = ("recall", "ndcg", "mrr", "map", "hit", "precision")


class Ties(NamedTuple):
    """Of every relevant event, float32 [E]: how many candidates stand above it and tied with it (itself included), how many
    of these are relevant, and how many scores are NaN."""

    above: jax.Array
    tied: jax.Array
    relevant_above: jax.Array
    relevant_tied: jax.Array
    nans: jax.Array


def user_metrics(
    ties: Ties, row: jax.Array, item: jax.Array, width: int, ks: tuple[int, ...], price: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Metrics per user at every k: {name: [B, K]}, zero for rows without a relevant item, NaN where a score is NaN.

    ties: those of the relevant events row, item int32 [E] of `width` users, row = width for padding. An item with g
    candidates above it, tied with t - 1 others, is equally likely at each of the positions g + 1 … g + t; every metric is
    its expected value over that draw, so a constant scorer has recall k / N. Average-rank and optimistic rules misjudge
    such scorers.

    With price float32 [items], 0 where unknown: revenue, the sum of the prices of the relevant items among the first k;
    revenue_imputed, the same with the mean price for unknown ones; and price_ndcg, DCG with prices as gains over that of
    the relevant items from the dearest on, NaN where none has a price.
    """
    n = max(ks)
    above, tied, relevant_above, relevant_tied, nans = (count[:, None] for count in ties)  # [E, 1], against k
    k = jnp.asarray(ks, jnp.float32)[None, :]
    ranks = np.arange(1, n + 1)
    discount = jnp.asarray(np.concatenate([[0.0], np.cumsum(1 / np.log2(ranks + 1))]), jnp.float32)
    harmonic = jnp.asarray(np.concatenate([[0.0], np.cumsum(1 / ranks)]), jnp.float32)

    first, last = jnp.minimum(above, k), jnp.minimum(above + tied, k)  # the group's positions in the list
    low, high = first.astype(jnp.int32), last.astype(jnp.int32)
    harmonics = harmonic[high] - harmonic[low]
    # given that the item stands at position r, its group has (r - g - 1)(m - 1)/(t - 1) relevant ones before it
    slope = (relevant_tied - 1) / jnp.maximum(tied - 1, 1.0)
    before = (relevant_above + 1) * harmonics + slope * (last - first - (above + 1) * harmonics)
    every = jnp.concatenate([(last - first) / tied, (discount[high] - discount[low]) / tied, before / tied], axis=1)

    # the chance that the first relevant item of the group stands at its position j, and that rank's reciprocal
    position = jnp.arange(n, dtype=jnp.float32)[None, :]
    others = jnp.maximum(tied - relevant_tied, 0.0)
    miss = jnp.clip((others - position) / jnp.maximum(tied - position, 1.0), 0.0, 1.0)
    survive = jnp.cumprod(miss, axis=1)
    found_at = jnp.concatenate([1 - survive[:, :1], survive[:, :-1] - survive[:, 1:]], axis=1)
    inside = position[:, None, :] < (last - first)[:, :, None]
    group = jnp.stack([found_at / (above + position + 1), found_at], axis=1)[:, :, None, :]
    best = jnp.sum(jnp.where(inside[:, None], group, 0.0), axis=-1)

    # the sums count every relevant item, the maxima the user's best group, where the first of them stands
    summed = jnp.zeros((width, every.shape[1])).at[row].add(every, mode="drop")
    reached = jnp.zeros((width, 2, len(ks))).at[row].max(best, mode="drop")
    count = jnp.zeros(width, jnp.int32).at[row].add(1, mode="drop")[:, None]
    total = jnp.maximum(count, 1).astype(jnp.float32)
    bad = jnp.where(jnp.zeros((width, 1)).at[row].max(nans, mode="drop") > 0, jnp.nan, 0.0)
    found, gain, precisions = jnp.split(summed, 3, axis=1)
    values = {
        "recall": found / total,
        "ndcg": gain / jnp.maximum(discount[jnp.minimum(count, jnp.asarray(ks)[None, :])], 1e-9),
        "mrr": reached[:, 0],
        "map": precisions / jnp.minimum(total, k),
        "hit": reached[:, 1],
        "precision": found / k,
    }
    if price is not None:
        worth = jnp.where(row < width, price[item], 0.0)
        paid = jnp.zeros((width, 2 * len(ks))).at[row].add(worth[:, None] * every[:, : 2 * len(ks)], mode="drop")
        mean = jnp.sum(price) / jnp.maximum(jnp.sum(price > 0), 1).astype(jnp.float32)
        lacking = jnp.where((row < width) & (worth == 0), mean, 0.0)
        imputed = jnp.zeros((width, len(ks))).at[row].add(lacking[:, None] * every[:, : len(ks)], mode="drop")
        ideal = _ideal(row, worth, discount, width, ks)
        values["revenue"] = paid[:, : len(ks)]
        values["revenue_imputed"] = values["revenue"] + imputed
        values["price_ndcg"] = jnp.where(ideal > 0, paid[:, len(ks) :] / jnp.maximum(ideal, 1e-9), jnp.nan)
    return {name: value + bad for name, value in values.items()}


def _ideal(row: jax.Array, worth: jax.Array, discount: jax.Array, width: int, ks: tuple[int, ...]) -> jax.Array:
    """The largest discounted sum of `worth` [E] that the events of each row allow among the first k: [B, K]."""
    order = jnp.lexsort((-worth, row))
    row, worth = row[order], worth[order]
    place = jnp.arange(len(row))
    first = jax.lax.cummax(jnp.where(jnp.concatenate([jnp.ones(1, bool), row[1:] != row[:-1]]), place, 0))
    rank = jnp.minimum(place - first, max(ks))
    step = jnp.append(jnp.diff(discount), 0.0)[rank]  # of the place alone; 0 beyond the longest list
    gains = jnp.stack([jnp.where(rank < k, worth * step, 0.0) for k in ks], axis=1)
    return jnp.zeros((width, len(ks))).at[row].add(gains, mode="drop")


def ties_of(scores: jax.Array, relevant: jax.Array, row: jax.Array, item: jax.Array) -> Ties:
    """Where the relevant items stand.

    scores float32 [B, items] with -inf for items that are no candidates; relevant bool [B, items] and the same as events
    row, item int32 [E], row = B for padding.
    """
    at = jnp.minimum(row, scores.shape[0] - 1)
    of_user, own, among = scores[at], scores[at, item][:, None], relevant[at]
    greater, equal = of_user > own, of_user == own
    counted = [where.astype(jnp.int32) for where in (greater, equal, greater & among, equal & among, jnp.isnan(of_user))]
    # one pass for all counts: XLA's CPU compiler would go over the table once for each sum
    counts = jax.lax.reduce(
        counted, [jnp.int32(0)] * len(counted), lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (1,)
    )
    above, tied, relevant_above, relevant_tied, nans = (count.astype(jnp.float32) for count in counts)
    return Ties(above, jnp.maximum(tied, 1.0), relevant_above, relevant_tied, nans)

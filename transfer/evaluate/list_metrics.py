"""What lists hold beyond hits: popularity, novelty, diversity, serendipity, genres; coverage and Gini of the catalogue.

A list is that of a user's k best candidates; of tied ones those that come first in the catalogue.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

LITTLE = 0.01  # of the reader's own genres in the list's, so that a genre that is missing costs something finite


class Lists(NamedTuple):
    """The n best candidates of each user: item int32 [B, n], there bool [B, n] (False: none is left, or padding)."""

    item: jax.Array
    there: jax.Array


class Profile(NamedTuple):
    """What users are known or hidden to have chosen, as events: row, item int32 [E], and whether they like it, bool [E].

    seen_row, seen_item int32 [S] are those of them that no list may hold.
    """

    row: jax.Array
    item: jax.Array
    liked: jax.Array
    seen_row: jax.Array
    seen_item: jax.Array


def best(table: jax.Array, asked: jax.Array, n: int) -> Lists:
    """The lists of the users that are asked, from scores float32 [B, items] with -inf for what is no candidate."""
    top, item = jax.lax.top_k(table, min(n, table.shape[1]))
    return Lists(item, asked[:, None] & ~jnp.isneginf(top))


def exposures(counts: jax.Array, lists: Lists, ks: tuple[int, ...]) -> jax.Array:
    """How many lists of each length hold an item, counted on: int32 [K, items]."""
    held = lists.there[None] & (jnp.arange(lists.item.shape[1])[None, :] < jnp.asarray(ks)[:, None])[:, None]
    return counts.at[:, lists.item].add(held.astype(jnp.int32))


def sums(lists: Lists, values: jax.Array, ks: tuple[int, ...]) -> jax.Array:
    """Sums over the first k items of every list, float32 [B, K], of values [B, n]."""
    inside = (jnp.arange(lists.item.shape[1])[:, None] < jnp.asarray(ks)[None, :]).astype(jnp.float32)
    return jnp.matmul(jnp.where(lists.there, values, 0.0), inside, precision="highest")


def means(lists: Lists, values: jax.Array, ks: tuple[int, ...]) -> jax.Array:
    """Means over the first k items of every list, 0 for an empty one: float32 [B, K]."""
    return sums(lists, values, ks) / jnp.maximum(sums(lists, jnp.ones_like(values), ks), 1.0)


def places(counts: jax.Array) -> jax.Array:
    """The place of every item by its count, the largest first: int32 [items]."""
    order = jnp.argsort(-counts, stable=True)
    return jnp.zeros(counts.shape[0], jnp.int32).at[order].set(jnp.arange(counts.shape[0], dtype=jnp.int32))


def coverage(counts: jax.Array, candidates: jax.Array | None) -> jax.Array:
    """The share of the candidates that anybody is recommended, from exposures int32 [K, items]: [K]."""
    there = None if candidates is None else jnp.broadcast_to(candidates[None, :], counts.shape)
    return jnp.mean(counts > 0, axis=1, where=there)


def gini(counts: jax.Array, candidates: jax.Array | None) -> jax.Array:
    """How unequally the candidates are recommended: Σ_i (2i - n - 1) p_i / n, p_1 ≤ p_2 ≤ … their shares of all places.

    0: all alike; 1 - 1/n: always the same one. From exposures int32 [K, items]: [K].
    """
    n = jnp.float32(counts.shape[1]) if candidates is None else jnp.sum(candidates).astype(jnp.float32)
    share = counts.astype(jnp.float32) / jnp.maximum(jnp.sum(counts, axis=1, keepdims=True), 1).astype(jnp.float32)
    share = jnp.sort(share if candidates is None else jnp.where(candidates[None, :], share, -1.0), axis=1)
    rank = jnp.arange(1, counts.shape[1] + 1, dtype=jnp.float32) - (counts.shape[1] - n)
    return jnp.sum(jnp.where(share < 0, 0.0, ((2 * rank - n - 1) / n)[None, :] * share), axis=1)


def of_popularity(
    lists: Lists,
    liked: jax.Array,
    profile: Profile,
    counts: jax.Array,
    place: jax.Array,
    readers: jax.Array,
    ks: tuple[int, ...],
) -> dict[str, jax.Array]:
    """By user and k [B, K]; counts float32 [items]: training events of each item, of so many readers, and their `places`;
    liked bool [B, n].

    popularity: mean count;  popularity_lift: that over the mean count of what she likes, less 1;
    novelty: mean log2((readers + 1) / (count + 1)) (Zhou et al. 2010), in bits;
    serendipity: the share of the k places with a hit that is not among the k most popular candidates, which a list of
    popularity alone would show (after Ge et al. 2010).
    """
    width, popular = lists.item.shape[0], counts[lists.item]
    own = jnp.stack([counts[profile.item], jnp.ones(profile.item.shape)], axis=1)
    own = jnp.zeros((width, 2)).at[profile.row].add(jnp.where(profile.liked[:, None], own, 0.0), mode="drop")
    taste = (own[:, 0] / jnp.maximum(own[:, 1], 1.0))[:, None]
    mean, length = means(lists, popular, ks), jnp.asarray(ks)[None, :]
    rank = _popularity_rank(lists, profile, place)[:, :, None]
    unexpected = (liked & lists.there)[:, :, None] & ((rank >= length[None]) | (popular == 0)[:, :, None])
    unexpected &= (jnp.arange(lists.item.shape[1])[:, None] < length)[None]
    return {
        "popularity": mean,
        "popularity_lift": jnp.where(taste > 0, mean / jnp.maximum(taste, 1e-9) - 1, jnp.nan),
        "novelty": means(lists, jnp.log2((readers.astype(jnp.float32) + 1) / (popular + 1)), ks),
        "serendipity": jnp.sum(unexpected, axis=1).astype(jnp.float32) / length.astype(jnp.float32),
    }


def _popularity_rank(lists: Lists, profile: Profile, place: jax.Array) -> jax.Array:
    """The place of every listed item among the user's candidates by popularity, from 0: int32 [B, n]."""
    listed = place[lists.item]
    width = listed.shape[0]
    before = place[profile.seen_item][:, None] < listed[jnp.minimum(profile.seen_row, width - 1)]  # no candidates
    return listed - jnp.zeros_like(listed).at[profile.seen_row].add(before.astype(jnp.int32), mode="drop")


def diversity(lists: Lists, vectors: jax.Array, ks: tuple[int, ...]) -> jax.Array:
    """Mean of 1 - cosine over the pairs of a list's first k items: float32 [B, K], NaN where fewer than two have a vector.

    vectors float32 [items, d] of length 1, zeros where unknown: |Σ v|² = m + 2 Σ_{i<j} cosine of m items, so a list is gone
    down once and no pair is looked at.
    """

    def down(
        carry: tuple[jax.Array, jax.Array], place: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        total, known = carry
        vector = jnp.where(place[1][:, None], vectors[place[0]], 0.0)
        total, known = total + vector, known + jnp.any(vector != 0, axis=1).astype(jnp.float32)
        return (total, known), (jnp.sum(jnp.square(total), axis=1), known)

    width = lists.item.shape[0]
    start = jnp.zeros((width, vectors.shape[1])), jnp.zeros(width)
    _, (square, known) = jax.lax.scan(down, start, (lists.item.T, lists.there.T))
    cosine = (square - known) / jnp.maximum(known * (known - 1), 1.0)
    return _at(jnp.where(known > 1, 1 - cosine, jnp.nan), ks)


def miscalibration(lists: Lists, profile: Profile, genres: jax.Array, ks: tuple[int, ...]) -> jax.Array:
    """Σ_g p_g log(p_g / q̃_g), q̃ = (1 - LITTLE) q + LITTLE p (Steck 2018): [B, K], 0 where the list has the user's genres.

    p: mean shares of the genres of what she likes, known or hidden; q: of the list's first k. NaN where either is unknown.
    """
    width, n_genres = lists.item.shape[0], genres.shape[1]
    own = jnp.where(profile.liked[:, None], genres[profile.item], 0.0)
    p = _normalised(jnp.zeros((width, n_genres)).at[profile.row].add(own, mode="drop"))
    unknown = jnp.where(jnp.isnan(p[:, 0]), jnp.nan, 0.0)

    def down(total: jax.Array, place: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        total = total + jnp.where(place[1][:, None], genres[place[0]], 0.0)
        q = (1 - LITTLE) * _normalised(total) + LITTLE * p
        return total, jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p / q, 1.0)), 0.0), axis=1) + unknown

    _, every = jax.lax.scan(down, jnp.zeros((width, n_genres)), (lists.item.T, lists.there.T))
    return _at(every, ks)


def _at(every: jax.Array, ks: tuple[int, ...]) -> jax.Array:
    """What stands after the first k places of [n, B]: [B, K]."""
    return every[jnp.asarray([min(k, len(every)) - 1 for k in ks])].T


def _normalised(rows: jax.Array) -> jax.Array:
    """Rows that sum to 1; NaN where nothing is in one."""
    total = jnp.sum(rows, axis=1, keepdims=True)
    return jnp.where(total > 0, rows / jnp.maximum(total, 1e-9), jnp.nan)

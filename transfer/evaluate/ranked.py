"""What is known of the rankings of a hidden part, and what follows from it: hits, lists, and what the lists hold.

`rank` looks at scores and belongs to a method's program; `measure` needs no scores, so all methods share what is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Heldout
from transfer.evaluate import feedback, list_metrics
from transfer.evaluate.list_metrics import Lists
from transfer.evaluate.rank_metrics import METRICS, Ties, ties_of, user_metrics

Scores = Callable[[jax.Array], jax.Array]


class Ranked(NamedTuple):
    """Of chunks of B users with E hidden events: where these stand, [C, E]; lists of the best candidates, [C, B, n] (None:
    not asked for); judged float32 [C, E + D], scores of hidden events and of dislikes (None: none are known)."""

    ties: Ties
    lists: Lists | None
    judged: jax.Array | None


def rank(scores: Scores, heldout: Heldout, length: int, sampled: int) -> Ranked:
    """What a program says of a hidden part; users are gone through in chunks: no table of users × items is ever whole.

    length: of the lists, 0 for none. sampled: how many others are ranked beside the hidden items, 0 for all candidates.
    """
    open_to = heldout.candidates

    def chunk(_: None, part: Heldout) -> tuple[None, Ranked]:
        plain = scores(part.users)
        table = plain.at[part.seen_row, part.seen_item].set(-jnp.inf, mode="drop")
        if open_to is not None:
            table = jnp.where(open_to[None, :], table, -jnp.inf)
        if part.open_row is not None and part.open_item is not None:
            listed = jnp.zeros(table.shape, bool).at[part.open_row, part.open_item].set(True, mode="drop")
            table = jnp.where(listed, table, -jnp.inf)
        relevant = jnp.zeros(table.shape, bool).at[part.row, part.item].set(True, mode="drop")
        if sampled:
            table = _sample_candidates(table, relevant, sampled, part.users)
        lists = judged = None
        if length:
            lists = list_metrics.best(table, jnp.any(relevant, axis=1), length)
            if part.disliked_row is not None and part.disliked_item is not None:
                rows = jnp.concatenate([part.row, part.disliked_row])
                judged = plain[jnp.minimum(rows, plain.shape[0] - 1), jnp.concatenate([part.item, part.disliked_item])]
        return None, Ranked(ties_of(table, relevant, part.row, part.item), lists, judged)

    return jax.lax.scan(chunk, None, heldout.by_chunk())[1]


def evaluate(scores: Scores, heldout: Heldout, ks: tuple[int, ...], sampled: int, prefix: str = "") -> dict[str, jax.Array]:
    """Means over users of the metrics at every k; what training selects by.

    prefix: of their names, which says what was ranked where that is not everything.
    """
    found = rank(scores, heldout, 0, sampled)

    def of_chunk(part: tuple[Ties, jax.Array, jax.Array]) -> ByUser:
        return user_metrics(*part, heldout.users.shape[1], ks)

    hits = jax.lax.map(of_chunk, (found.ties, heldout.row, heldout.item))
    return _named(_means(hits, heldout), ks, prefix)


def measure(
    ranked: Ranked, heldout: Heldout, beyond: bool, select: str, ks: tuple[int, ...], prefix: str = ""
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Means, and {name: float32 [users, padding last]}: the selected metric, ndcg and recall at every k, hit and precision
    and what is measured beyond hits at the k of the selected one; NaN where a user has nothing of it.

    Means are those of hits; with `beyond` of all that is known of the lists too (coverage, popularity, feedback, prices,
    genres, texts).
    """
    shelf = heldout.catalogue if beyond else None
    popularity, n_items = heldout.popularity, heldout.popularity.shape[0]
    price, unit = shelf.price if shelf else None, shelf.genres if shelf else None
    place = list_metrics.places(popularity)  # of all items alike: once, not in every chunk
    unit = None if unit is None else unit / jnp.maximum(jnp.linalg.norm(unit, axis=1, keepdims=True), 1e-9)

    def chunk(counts: jax.Array, of: tuple[Heldout, Ranked]) -> tuple[jax.Array, tuple[ByUser, jax.Array | None]]:
        part, (ties, lists, judged) = of
        found = user_metrics(ties, part.row, part.item, part.users.shape[0], ks, price)
        if not beyond:
            return counts, (found, None)
        assert lists is not None
        counts, auc = list_metrics.exposures(counts, lists, ks), None
        if judged is not None and part.disliked_row is not None:
            auc = feedback.judged_auc(judged, part.row, part.disliked_row, part.users.shape[0])
        part = replace(part, catalogue=shelf, popularity=popularity)
        return counts, (found | _beyond(lists, part, place, unit, ks), auc)

    start = jnp.zeros((len(ks), n_items), jnp.int32)
    counts, (found, auc) = jax.lax.scan(chunk, start, (heldout.by_chunk(), ranked))
    means = _means(found, heldout)
    if "judged" in found:
        means["like_share"] = _mean(found["like_share"][None], heldout, weights=found["judged"][None])[0]
    chosen, _, at_k = select.partition("@")
    k = int(at_k)
    rows = {select: found[chosen][..., ks.index(k)]}
    rows |= {f"{name}@{at}": found[name][..., i] for name in ("ndcg", "recall") for i, at in enumerate(ks)}
    rows |= {f"{name}@{k}": found[name][..., ks.index(k)] for name in found if name not in LESS or name == chosen}
    single: dict[str, jax.Array] = {}  # that has no k
    if beyond:
        means["coverage"] = list_metrics.coverage(counts, heldout.candidates)
        means["gini"] = list_metrics.gini(counts, heldout.candidates)
        single = _given(heldout)
    if auc is not None:
        single["judged_auc"], rows["judged_auc"] = _mean(auc[None, ..., None], heldout)[0, 0], auc
    named = _named(means, ks, prefix) | {prefix + name: value for name, value in single.items()}
    return named, {prefix + name: values.reshape(-1) for name, values in rows.items()}


ByUser = dict[str, jax.Array]  # values of lists of several lengths: [B, K], of all chunks [C, B, K]
LESS = ("mrr", "map")  # of these a user's value is kept only where it is selected by


def _named(means: dict[str, jax.Array], ks: tuple[int, ...], prefix: str) -> dict[str, jax.Array]:
    return {f"{prefix}{name}@{k}": values[i] for name, values in means.items() for i, k in enumerate(ks)}


def _beyond(
    lists: Lists, part: Heldout, place: jax.Array, unit: jax.Array | None, ks: tuple[int, ...]
) -> dict[str, jax.Array]:
    """What the lists of a chunk's users hold beyond hits, as far as it is known of the items: {name: [B, K]}.

    place int32 [items]: by popularity; unit float32 [items, genres]: genres as vectors of length 1.
    """
    shelf, shape = part.catalogue, (part.users.shape[0], part.popularity.shape[0])
    profile = list_metrics.Profile(
        jnp.concatenate([part.row, part.seen_row]),
        jnp.concatenate([part.item, part.seen_item]),
        jnp.concatenate([part.row < part.users.shape[0], part.seen_liked]),
        part.seen_row,
        part.seen_item,
    )

    def among(row: jax.Array, item: jax.Array) -> jax.Array:
        """Whether these events hold a list's item: bool [B, n]."""
        table = jnp.zeros(shape, bool).at[row, item].set(True, mode="drop")
        return table[jnp.arange(shape[0])[:, None], lists.item]

    liked = among(part.row, part.item)
    readers = shelf.readers if shelf else jnp.max(part.popularity)
    found = list_metrics.of_popularity(lists, liked, profile, part.popularity, place, readers, ks)
    if part.disliked_row is not None and part.disliked_item is not None:
        found |= feedback.of_judged(lists, liked, among(part.disliked_row, part.disliked_item), ks)
    if shelf is None:
        return found
    if shelf.genres is not None and unit is not None:
        found["genre_diversity"] = list_metrics.diversity(lists, unit, ks)
        found["miscalibration"] = list_metrics.miscalibration(lists, profile, shelf.genres, ks)
    if shelf.texts is not None:
        found["text_diversity"] = list_metrics.diversity(lists, shelf.texts, ks)
    if shelf.price is not None:
        found["price_coverage"] = list_metrics.means(lists, (shelf.price > 0).astype(jnp.float32)[lists.item], ks)
    return found


def _given(heldout: Heldout) -> dict[str, jax.Array]:
    """What no ranking changes: the share of likes in all that is judged, and the share of hidden events with a price."""
    found, width = {}, heldout.users.shape[1]
    likes = heldout.row < width
    if heldout.disliked_row is not None:
        judged = jnp.sum(likes) + jnp.sum(heldout.disliked_row < width)
        found["like_share"] = jnp.sum(likes).astype(jnp.float32) / judged.astype(jnp.float32)
    if heldout.catalogue is not None and heldout.catalogue.price is not None:
        found["price_coverage"] = jnp.mean(heldout.catalogue.price[heldout.item] > 0, where=likes)
    return found


def _means(found: ByUser, heldout: Heldout) -> dict[str, jax.Array]:
    """Means [K] by name; of what every user has NaN where one is missing."""
    strict = jnp.asarray([name in METRICS for name in found])[:, None, None, None]
    means = _mean(jnp.stack(list(found.values())), heldout, strict)
    return dict(zip(found, means, strict=True))


def _mean(
    values: jax.Array, heldout: Heldout, strict: bool | jax.Array = False, weights: jax.Array | None = None
) -> jax.Array:
    """Means [M, K] over the users of whom there is a value, of [M, C, B, K]; NaN where there is none, if `strict` where one
    is missing."""
    there = jnp.arange(heldout.users.size).reshape(heldout.users.shape) < heldout.n_users  # padding is behind
    known = there[None, ..., None] & (strict | ~jnp.isnan(values))
    weight = jnp.where(known, 1.0 if weights is None else weights, 0.0)
    total = jnp.sum(weight, axis=(1, 2))
    mean = jnp.sum(jnp.where(weight > 0, values, 0.0) * weight, axis=(1, 2)) / jnp.maximum(total, 1e-9)
    return jnp.where(total > 0, mean, jnp.nan)


def _sample_candidates(table: jax.Array, relevant: jax.Array, count: int, users: jax.Array) -> jax.Array:
    """Leave each user the relevant items and `count` uniform others, the same ones at every evaluation."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), users)
    draw = jax.vmap(lambda key: jax.random.uniform(key, table.shape[1:]))(keys)
    draw = jnp.where(relevant | jnp.isneginf(table), -1.0, draw)
    threshold = jax.lax.top_k(draw, min(count, table.shape[1]))[0][:, -1:]
    return jnp.where(relevant | ((draw >= threshold) & (draw >= 0)), table, -jnp.inf)

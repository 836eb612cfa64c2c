"""task=ranking: order all target items for a user; training items are masked, ties count by their expected value."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from transfer.config import schema
from transfer.data.interactions.events import Heldout, Interactions
from transfer.data.interactions.world import World, asked_users
from transfer.errors import TransferError
from transfer.evaluate import feedback, list_metrics
from transfer.evaluate.rank_metrics import METRICS, user_metrics
from transfer.program import Batch, Scores, Task


def bpr(outputs: jax.Array, batch: Batch) -> jax.Array:
    """-log σ(s⁺ - s⁻), mean over negatives (Rendle et al. 2009)."""
    return jnp.mean(jax.nn.softplus(outputs[:, 1:] - outputs[:, :1]), axis=1)


def softmax(outputs: jax.Array, batch: Batch) -> jax.Array:
    """-log of the softmax of the observed item among it and the uniform negatives."""
    return jax.nn.logsumexp(outputs, axis=1) - outputs[:, 0]


def sampled_softmax(outputs: jax.Array, batch: Batch) -> jax.Array:
    """-s⁺ + log(exp s⁺ + Σ_j exp(s_j - log q_j)): the sum over all items the user lacks, estimated from the negatives j,
    of which q_j are drawn in expectation (logQ correction: Bengio & Senécal 2008; Yi et al. 2019)."""
    return jax.nn.logsumexp(outputs - batch.log_q, axis=1) - outputs[:, 0]


def full_softmax(outputs: jax.Array, batch: Batch) -> jax.Array:
    """-log of the softmax of the observed item among all items, which follow it in the outputs."""
    return jax.nn.logsumexp(outputs[:, 1:], axis=1) - outputs[:, 0]


def binary_cross_entropy(outputs: jax.Array, batch: Batch) -> jax.Array:
    """Log loss of the observed item (1) plus that of the negatives (0), mean over negatives."""
    return optax.sigmoid_binary_cross_entropy(outputs[:, 0], jnp.ones(outputs.shape[:1])) + jnp.mean(
        optax.sigmoid_binary_cross_entropy(outputs[:, 1:], jnp.zeros(outputs[:, 1:].shape)), axis=1
    )


def squared_error(outputs: jax.Array, batch: Batch) -> jax.Array:
    """(1 - s⁺)² plus the mean of (s⁻)² over negatives."""
    return jnp.square(1 - outputs[:, 0]) + jnp.mean(jnp.square(outputs[:, 1:]), axis=1)


LISTED = "candidates_"  # begins the names of metrics over lists of candidates
LOSSES = {f.__name__: f for f in (bpr, softmax, sampled_softmax, full_softmax, binary_cross_entropy, squared_error)}


def build(settings: schema.Task, world: World) -> Task:
    """The ranking task. Raises TransferError for an unknown loss or metric."""
    if settings.loss not in LOSSES:
        raise TransferError(f"task.loss={settings.loss}: task=ranking knows {', '.join(LOSSES)}")
    if not settings.k or min(settings.k) < 1:
        raise TransferError(f"task.k={list(settings.k)}: give list lengths of 1 or more, such as task.k=[5,10,20]")
    if settings.negatives < 1 and settings.loss != "full_softmax":
        raise TransferError("task.negatives=0: every event needs at least one negative")
    names = [f"{metric}@{k}" for metric in METRICS for k in settings.k]
    if settings.select not in names:
        raise TransferError(f"task.select={settings.select}: with task.k={list(settings.k)} choose from {', '.join(names)}")
    listed = getattr(world.test, "open_row", None) is not None  # nothing may be hidden
    if listed and settings.sampled:
        raise TransferError(f"task.sampled={settings.sampled} beside split.candidates: choose one of them")
    prefix = f"sampled{settings.sampled}_" if settings.sampled else LISTED if listed else ""
    every = settings.loss == "full_softmax"
    return Task(
        select=prefix + settings.select,
        sign=1,
        batch=partial(batch, negatives=0 if every else settings.negatives),
        loss=LOSSES[settings.loss],
        evaluate=partial(evaluate, ks=settings.k, sampled=settings.sampled, prefix=prefix),
        examine=partial(examine, select=settings.select, ks=settings.k, sampled=settings.sampled, prefix=prefix),
        rows=asked_users,
        every_item=every,
        negatives=0 if every else settings.negatives,
    )


def protocol(settings: schema.Config) -> dict[str, Any]:
    """What result.json says about how figures came to be."""
    if settings.split.name == "cold_items":
        whole = "all new target items (of the same part)"
    else:
        whole = "all target items but the user's training (in test also validation) items"
    if getattr(settings.split, "candidates", None):
        whole = "the items that split.candidates lists for each user, without those of training (in test also validation)"
    return {
        "candidates": whole
        if not settings.task.sampled
        else f"the hidden items and {settings.task.sampled} sampled others per user",
        "positives": settings.task.positives,
        "ties": "expected value over a random order of tied items",
    }


def batch(events: Interactions, key: jax.Array, size: int, negatives: int) -> Batch:
    """`size` events drawn with replacement, each with items that its user has never chosen.

    The prior holds every row that an event touches alike, as in Bayesian personalised ranking.
    """
    for_rows, for_items = jax.random.split(key)
    rows = events.draw(for_rows, size)
    users = events.users[rows]
    others = unseen_items(events, users, for_items, negatives)
    items = jnp.concatenate([events.items[rows][:, None], others], axis=1)
    weights = jnp.full(items.shape, 1 / items.shape[1])
    free = jnp.maximum(events.n_items - (events.starts[users + 1] - events.starts[users]), 1).astype(jnp.float32)
    log_q = jnp.broadcast_to(jnp.log(max(negatives, 1) / free)[:, None], others.shape)
    log_q = jnp.concatenate([jnp.zeros((size, 1)), log_q], axis=1)
    return Batch(users, items, events.ratings[rows], jnp.ones(size), weights, log_q)


def unseen_items(events: Interactions, users: jax.Array, key: jax.Array, count: int) -> jax.Array:
    """Uniform draws from the items that a user has no event with, exactly and without rejection: int32 [B, count].

    With the user's items i_0 < i_1 < …, the r-th unseen item is r + #{j : i_j - j <= r}, found by bisection. A user who
    has all items gets a seen one: there is no other.
    """
    start, degree = events.starts[users][:, None], (events.starts[users + 1] - events.starts[users])[:, None]
    uniform = jax.random.uniform(key, (users.shape[0], count))
    free = jnp.maximum(events.n_items - degree, 1)
    rank = jnp.minimum((uniform * free.astype(jnp.float32)).astype(jnp.int32), free - 1)

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        item = events.items[jnp.minimum(start + middle, events.items.shape[0] - 1)]
        below = (middle < degree) & (item - middle <= rank)
        return jnp.where(below & (low < high), middle + 1, low), jnp.where(below, high, middle)

    # a real loop: unrolled, the compiler fuses the steps into each other and its work doubles with every step
    steps = events.longest.bit_length() + 1
    low, _ = jax.lax.fori_loop(0, steps, halve, (jnp.zeros_like(rank), jnp.broadcast_to(degree, rank.shape)))
    return jnp.minimum(rank + low, events.n_items - 1)


def evaluate(
    scores: Scores, heldout: Heldout, ks: tuple[int, ...], sampled: int, full: bool = True, prefix: str = ""
) -> dict[str, jax.Array]:
    """Means over users of the metrics at every k; with `full` also coverage and popularity of what is recommended.

    prefix: of their names, which says what was ranked where that is not everything.
    """
    means = _measure(scores, heldout, ks, sampled, "lists" if full else "hits")[0]
    return {prefix + name: value for name, value in means.items()}


def examine(
    scores: Scores, heldout: Heldout, select: str, ks: tuple[int, ...], sampled: int, prefix: str = ""
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """The means of these and of all that is known of the lists (feedback, prices, genres, texts), and {name: float32
    [users, padding last]}: the selected metric, ndcg and recall at every k, and what is measured beyond them at the k of
    the selected one; NaN where a user has nothing of it."""
    means, hits, lists = _measure(scores, heldout, ks, sampled, "all")
    k = int(select.partition("@")[2])
    kept = dict.fromkeys(
        [select, *(f"{name}@{at}" for name in ("ndcg", "recall") for at in ks), f"hit@{k}", f"precision@{k}"]
    )
    more = {name: name.partition("@")[2] for name in hits if name.partition("@")[0] not in METRICS}
    kept |= dict.fromkeys(name for name, at in more.items() if at in ("", str(k)))
    at_k = {f"{name}@{k}": jax.lax.index_in_dim(of, ks.index(k), -1, keepdims=False) for name, of in lists.items()}
    rows = {name: hits[name] for name in kept} | at_k
    named = {prefix + name: value for name, value in means.items()}
    return named, {prefix + name: values.reshape(-1) for name, values in rows.items()}


def _measure(
    scores: Scores, heldout: Heldout, ks: tuple[int, ...], sampled: int, what: Literal["hits", "lists", "all"]
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], dict[str, jax.Array]]:
    """Means by name, and the values of users in their chunks: of hits {name: [C, B]}, of lists {name: [C, B, K]}.

    NaN where a user has none, padding behind. Users are gone through once: no table of users × items is ever whole.
    """
    shelf, popularity = jax.tree.map(jnp.asarray, (heldout.catalogue, heldout.popularity))  # of a world on the host too
    n_items = popularity.shape[0]
    price = shelf.price if shelf and what == "all" else None
    place = list_metrics.places(popularity)  # of all items alike: once, not in every chunk
    unit = shelf.genres if shelf else None
    unit = None if unit is None else unit / jnp.maximum(jnp.linalg.norm(unit, axis=1, keepdims=True), 1e-9)

    def chunk(counts: jax.Array, part: Heldout) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
        plain = scores(part.users)
        table = plain.at[part.seen_row, part.seen_item].set(-jnp.inf, mode="drop")
        if heldout.candidates is not None:
            table = jnp.where(heldout.candidates[None, :], table, -jnp.inf)
        if part.open_row is not None and part.open_item is not None:
            open_to = jnp.zeros(table.shape, bool).at[part.open_row, part.open_item].set(True, mode="drop")
            table = jnp.where(open_to, table, -jnp.inf)
        relevant = jnp.zeros(table.shape, bool).at[part.row, part.item].set(True, mode="drop")
        if sampled:
            table = _sample_candidates(table, relevant, sampled, part.users)
        hits = user_metrics(table, relevant, part.row, part.item, ks, price)
        if what == "hits":
            return counts, (hits, {})
        lists = list_metrics.best(table, jnp.any(relevant, axis=1), max(ks))
        counts = list_metrics.exposures(counts, lists, ks)
        if what == "lists":
            return counts, (hits, {"popularity": list_metrics.means(lists, popularity[lists.item], ks)})
        if part.disliked_row is not None and part.disliked_item is not None:
            hits["judged_auc"] = feedback.judged_auc(plain, part.row, part.item, part.disliked_row, part.disliked_item)
        part = replace(part, catalogue=shelf, popularity=popularity)
        return counts, (hits, _beyond(lists, relevant, part, place, unit, ks))

    counts, (hits, lists) = jax.lax.scan(chunk, jnp.zeros((len(ks), n_items), jnp.int32), heldout.by_chunk())
    there = jnp.arange(heldout.users.size).reshape(heldout.users.shape) < heldout.n_users
    strict = [name for name in hits if name.partition("@")[0] in METRICS]
    found = dict(zip(strict, _mean(jnp.stack([hits[name] for name in strict]), there, strict=True), strict=True))
    found |= {name: _mean(values[None], there)[0] for name, values in hits.items() if name not in found}
    by_k = {name: jnp.moveaxis(values, -1, 0) for name, values in lists.items()}
    of_lists = {name: _mean(values, there) for name, values in by_k.items()}
    if "judged" in lists:
        of_lists["like_share"] = _mean(by_k["like_share"], there, weights=by_k["judged"])
    if what != "hits":
        of_lists["coverage"] = list_metrics.coverage(counts, heldout.candidates)
    if what == "all":
        of_lists["gini"] = list_metrics.gini(counts, heldout.candidates)
        found |= _given(heldout)
    found |= {f"{name}@{k}": value for name, values in of_lists.items() for k, value in zip(ks, values, strict=True)}
    return found, hits, lists


def _beyond(
    lists: list_metrics.Lists,
    relevant: jax.Array,
    part: Heldout,
    place: jax.Array,
    unit: jax.Array | None,
    ks: tuple[int, ...],
) -> dict[str, jax.Array]:
    """What the lists of a chunk's users hold beyond hits, as far as it is known of the items: {name: [B, K]}.

    place int32 [items]: by popularity; unit float32 [items, genres]: genres as vectors of length 1.
    """
    shelf, rows = part.catalogue, jnp.arange(lists.item.shape[0])[:, None]
    profile = list_metrics.Profile(
        jnp.concatenate([part.row, part.seen_row]),
        jnp.concatenate([part.item, part.seen_item]),
        jnp.concatenate([part.row < part.users.shape[0], part.seen_liked]),
        part.seen_row,
        part.seen_item,
    )
    liked = relevant[rows, lists.item]
    readers = shelf.readers if shelf else jnp.max(part.popularity)
    found = list_metrics.of_popularity(lists, liked, profile, part.popularity, place, readers, ks)
    if part.disliked_row is not None:
        disliked = jnp.zeros(relevant.shape, bool).at[part.disliked_row, part.disliked_item].set(True, mode="drop")
        found |= feedback.of_judged(lists, liked, disliked[rows, lists.item], ks)
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


def _mean(values: jax.Array, there: jax.Array, strict: bool = False, weights: jax.Array | None = None) -> jax.Array:
    """Means [M] over the users of whom there is a value, of [M, C, B]; NaN where there is none, if `strict` where one is
    missing."""
    weight = jnp.where(there[None] & (strict | ~jnp.isnan(values)), 1.0 if weights is None else weights, 0.0)
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

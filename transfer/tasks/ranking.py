"""task=ranking: order all target items for a user; training items are masked, ties count by their expected value."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from transfer.config import schema
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World, asked_users
from transfer.errors import TransferError
from transfer.evaluate import ranked
from transfer.evaluate.rank_metrics import METRICS
from transfer.program import Batch, Task


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
        evaluate=partial(ranked.evaluate, ks=settings.k, sampled=settings.sampled, prefix=prefix),
        predict=partial(ranked.rank, length=max(settings.k), sampled=settings.sampled),
        measure=partial(ranked.measure, select=settings.select, ks=settings.k, prefix=prefix),
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

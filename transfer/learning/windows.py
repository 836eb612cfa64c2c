"""Windows of histories, drawn at random; several are put in one row, for padding costs as much as events do, and most
histories are far shorter than a window."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transfer.data.interactions.sequences import Packing, Sequences, window
from transfer.data.interactions.world import World
from transfer.program import SequenceModel, stream

SAMPLE = 4096  # windows that are drawn to learn how much a batch takes
CHANCE = 1e-9  # of a batch that takes more


class Windows(NamedTuple):
    """Events of a batch, items int32 [B, L + 1] in the order of time; `before` int32 [B, L + 1], the last position of an
    earlier day, -1 where there is none; counts bool [B, L + 1] where an event is predicted."""

    items: jax.Array
    before: jax.Array
    counts: jax.Array

    def lengths(self) -> jax.Array:
        """How many of its first events a prediction of each window sees: int32 [B]."""
        return jnp.max(jnp.where(self.counts, self.before + 1, 0), axis=1)


def windows(of: Sequences, predicted: int, key: jax.Array, size: int, length: int) -> Windows:
    """Windows of `length` + 1 events that end at a random event of a random user with something to learn from."""
    users = of.learners[jax.random.randint(stream(key, "user"), (size,), 0, of.learners.shape[0])]
    degree = of.starts[users + 1] - of.starts[users]
    spare = jnp.maximum(degree - (length + 1), 0)  # a short sequence is taken whole
    ends = degree - jax.random.randint(stream(key, "end"), (size,), 0, spare + 1)
    items, days, there = window(of, users, ends, length + 1)
    place = jnp.arange(length + 1)[None]
    begins = (place == 0) | (days != jnp.roll(days, 1, axis=1))  # a day
    before = jax.lax.cummax(jnp.where(begins, place, 0), axis=1) - 1
    return Windows(items, before, there & (before >= 0) & (items < predicted))


class Packed(NamedTuple):
    """Rows of steps: items int32 [rows, width], there, and position, a step's place in its own window.

    first int32 [B]: where the first step of a window stands among rows · width; kept bool [B]: it has found a place.
    """

    items: jax.Array
    there: jax.Array
    position: jax.Array
    first: jax.Array
    kept: jax.Array


def packed(items: jax.Array, lengths: jax.Array, packing: Packing | None) -> Packed:
    """The first `lengths` [B] steps of windows, items [B, L], in the rows of a packing; in a row of their own without.

    A window takes the next power of two of places. From the longest to the shortest, none lies across the end of a row.
    """
    size, length = items.shape
    if packing is None or not packing.rows:
        place = jnp.broadcast_to(jnp.arange(length)[None], items.shape)
        there = place < lengths[:, None]
        return Packed(jnp.where(there, items, 0), there, place, jnp.arange(size) * length, jnp.ones(size, bool))
    taken = power_of_two(lengths)
    order = jnp.argsort(-taken)
    starts = jnp.cumsum(taken[order]) - taken[order]
    first = jnp.zeros(size, jnp.int32).at[order].set(starts)
    slots = jnp.arange(packing.rows * packing.width)
    nth = jnp.searchsorted(starts, slots, side="right") - 1
    whose, place = order[nth], slots - starts[nth]
    there = place < lengths[whose]
    place = jnp.where(there, place, 0)
    shape = (packing.rows, packing.width)
    read = jnp.where(there, items[whose, place], 0).reshape(shape)
    kept = first + taken <= packing.rows * packing.width
    return Packed(read, there.reshape(shape), place.reshape(shape), first, kept)


def power_of_two(n: jax.Array) -> jax.Array:
    """The smallest power of two that is not below n; 0 for 0."""
    return jnp.where(n > 0, jnp.left_shift(1, 32 - jax.lax.clz(n - 1)), 0)


def with_packings(world: World, size: int, model: SequenceModel) -> World:
    """The world whose sequences know how much a batch of `size` windows takes, to predict all their items or, where
    domains are merged, the target's alone; for negatives from the batch also how often windows predict each item."""

    def known(of: Sequences | None, *predicted: int) -> Sequences | None:
        if of is None or not of.learners.shape[0]:
            return of
        packings = tuple(packing_for(of, each, size, model.length) for each in dict.fromkeys(predicted))
        return replace(of, packings=packings, frequency=frequency(of, model.length) if model.in_batch else None)

    target = replace(world.target, sequence=known(world.target.sequence, world.n_items))
    sources = [replace(s, sequence=known(s.sequence, s.sequence.n_items if s.sequence else 0)) for s in world.sources]
    both = known(world.merged, world.merged.n_items, world.n_items) if world.merged else None
    return replace(world, target=target, sources=tuple(sources), merged=both)


def frequency(of: Sequences, length: int) -> jax.Array:
    """The windows of a random user that predict each item, in expectation, up to a factor: float32 [n_items]."""
    items, days, starts = (np.asarray(part) for part in (of.items, of.days, of.starts))
    user = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    place, spare = np.arange(len(items)) - starts[user], np.maximum(np.diff(starts) - (length + 1), 0)[user]
    begins = np.r_[True, (user[1:] != user[:-1]) | (days[1:] != days[:-1])][: len(items)]
    day = place[np.maximum.accumulate(np.where(begins, np.arange(len(items)), 0))]  # where the event's day begins
    # windows that begin at `first` … `last` hold the event and one of an earlier day
    first, last = np.maximum(place - length, 0), np.minimum(spare, day - 1)
    share = np.maximum(last - first + 1, 0) / (spare + 1)
    return jnp.asarray(np.bincount(items, share, of.n_items), jnp.float32)


def packing_for(of: Sequences, predicted: int, size: int, length: int) -> Packing:
    """How much a batch of windows takes, measured on SAMPLE of them. Numbers are rounded up, so that a little more or
    less of data makes the same program."""
    drawn: Windows = jax.jit(windows, static_argnums=(1, 3, 4))(of, predicted, jax.random.key(0), SAMPLE, length)
    steps, events = np.asarray(power_of_two(drawn.lengths())), np.asarray(drawn.counts.sum(axis=1))
    width = 1 << (length - 1).bit_length()
    longest = min(int(np.diff(of.starts).max()) - 1, length)  # steps of a window, and events that it predicts
    rows = rounded(most(steps, int(power_of_two(jnp.int32(longest))), size) / width)
    if rows * width >= size * length:  # most windows are full
        rows = 0
    return Packing(predicted, size, length, rows, width, min(rounded(most(events, longest, size)), size * length))


def most(each: np.ndarray, largest: int, size: int) -> float:
    """What the sum of `size` draws from `each` exceeds with CHANCE at most: min over t of (size log M(t) - log CHANCE) / t
    with M(t) = E exp(t x) (Chernoff). The largest there can be is put among the draws, lest a rare one was not seen."""
    x = np.append(each, largest).astype(np.float64)
    t = np.geomspace(1e-3, 1e2, 200) / max(largest, 1)
    log_m = t * largest + np.log(np.mean(np.exp(t[:, None] * (x - largest)[None, :]), axis=1))
    return float(min(np.min((size * log_m - np.log(CHANCE)) / t), size * largest))


def rounded(number: float) -> int:
    """Up, to three binary digits."""
    step = 2 ** max(0, math.ceil(number).bit_length() - 3)
    return math.ceil(number / step) * step

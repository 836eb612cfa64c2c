"""How a next-item model learns from sequences, and how it scores: nothing of the same day or later is ever its input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from transfer.data.interactions.sequences import Sequences, window
from transfer.program import Batch, Params, Scores, SequenceModel, Steps, Task, stream


class Reading(NamedTuple):
    """Sequences to read, and how many of their items, the first ones, are learnt to be predicted, and are scored."""

    sequences: Sequences
    predicted: int
    scored: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Windows:
    """A batch: items int32 [B, L + 1] in the order of time; `before` int32 [B, L + 1], the last position of an earlier day.

    counts float32 [B, L + 1] is 1 where an event is predicted; negatives int32 [N] are shared by all of them.
    """

    items: jax.Array
    there: jax.Array
    before: jax.Array
    counts: jax.Array
    negatives: jax.Array
    predicted: int = field(metadata={"static": True})


def draw(reading: Reading, key: jax.Array, size: int, length: int, negatives: int) -> Windows:
    """Windows of `length` + 1 events that end at a random event of a random user with something to learn from."""
    known = reading.sequences
    users = known.learners[jax.random.randint(stream(key, "user"), (size,), 0, known.learners.shape[0])]
    degree = known.starts[users + 1] - known.starts[users]
    spare = jnp.maximum(degree - (length + 1), 0)  # a short sequence is taken whole
    ends = degree - jax.random.randint(stream(key, "end"), (size,), 0, spare + 1)
    items, days, there = window(known, users, ends, length + 1)
    earlier = (days[:, None, :] < days[:, :, None]) & there[:, None, :]
    before = jnp.sum(earlier, axis=2) - 1
    counts = there & (before >= 0) & (items < reading.predicted)
    drawn = jax.random.randint(stream(key, "negative"), (negatives,), 0, reading.predicted)
    return Windows(items, there, jnp.maximum(before, 0), counts.astype(jnp.float32), drawn, reading.predicted)


def losses(
    task: Task, model: SequenceModel, params: Params, batch: Windows, dropout: jax.Array, key: jax.Array
) -> jax.Array:
    """The task's loss of every event of the windows, from the state after the last event of an earlier day: [B (L + 1)].

    The negatives are uniform and shared; one that is the event itself does not count.
    dropout is the share of entries of the item vectors that the model does not see.
    """
    head = params["head"]
    told = steps(head, batch.items[:, :-1], batch.there[:, :-1])
    kept = jax.random.bernoulli(key, 1 - dropout, told.vectors.shape)
    states = model.features(params["body"], told._replace(vectors=jnp.where(kept, told.vectors / (1 - dropout), 0.0)))
    at = jnp.minimum(batch.before, states.shape[1] - 1)
    z = jnp.take_along_axis(states, at[:, :, None], axis=1).reshape(-1, states.shape[2])
    items, weights = batch.items.reshape(-1), batch.counts.reshape(-1)
    predicted = batch.predicted
    given = candidates(head, predicted)
    observed = (
        jnp.sum(z * given["vectors"][jnp.minimum(items, predicted - 1)], axis=1)
        + given["bias"][items.clip(0, predicted - 1)]
    )
    if task.every_item:
        others = z @ given["vectors"].T + given["bias"][None, :]
        log_q = jnp.zeros((1, 1 + predicted))
    else:
        others = z @ given["vectors"][batch.negatives].T + given["bias"][batch.negatives][None, :]
        others = jnp.where(batch.negatives[None, :] == items[:, None], -1e9, others)
        rate = batch.negatives.shape[0] / predicted
        log_q = jnp.concatenate([jnp.zeros((1, 1)), jnp.full((1, others.shape[1]), jnp.log(rate))], axis=1)
    outputs = jnp.concatenate([observed[:, None], others], axis=1)
    log_q = jnp.broadcast_to(log_q, outputs.shape)
    event = Batch(items, items[:, None], weights, weights, weights[:, None], log_q)
    return task.loss(outputs, event)


def mean_over_predicted(losses: jax.Array, batch: Windows) -> jax.Array:
    """Σ counts · loss / Σ counts: the mean of `losses` over the events of the windows that are predicted."""
    counts = batch.counts.reshape(-1)
    return jnp.sum(counts * losses) / jnp.maximum(jnp.sum(counts), 1.0)


def steps(head: Params, items: jax.Array, there: jax.Array) -> Steps:
    """Item vectors of a window, zero where nothing is there."""
    return Steps(jnp.where(there[:, :, None], head["items"][items], 0.0), there)


def candidates(head: Params, predicted: int) -> Params:
    """Output vectors [predicted, d] and biases of the items to be predicted: of a table of their own, or the inputs'."""
    return {"vectors": head.get("outputs", head["items"])[:predicted], "bias": head["bias"][:predicted]}


def scores(model: SequenceModel, reading: Reading, params: Params) -> Scores:
    """Scores of items from the last events of users; without any, from the biases alone."""

    def score(users: jax.Array) -> jax.Array:
        sequences = reading.sequences
        ends = sequences.starts[users + 1] - sequences.starts[users]
        items, _, there = window(sequences, users, ends, model.length)
        states = model.features(params["body"], steps(params["head"], items, there))
        last = jnp.clip(ends, 1, model.length) - 1
        z = jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]
        given = candidates(params["head"], reading.scored)
        return jnp.where(ends[:, None] > 0, z @ given["vectors"].T, 0.0) + given["bias"][None, :]

    return score

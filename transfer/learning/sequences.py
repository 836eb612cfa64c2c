"""How a next-item model learns from sequences, and how it scores: nothing of the same day or later is ever its input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from transfer.data.interactions.sequences import Sequences, window
from transfer.learning.windows import packed, windows
from transfer.program import Batch, Params, Scores, SequenceModel, Steps, Task, stream


class Reading(NamedTuple):
    """Sequences to read, and how many of their items, the first ones, are learnt to be predicted, and are scored."""

    sequences: Sequences
    predicted: int
    scored: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Predictions:
    """A batch: the steps that are read, items int32 [rows, width], with `there` and `position`, the place in the window.

    at int32 [E]: the step whose state predicts an event, among rows · width; targets int32 [E]: its item;
    counts float32 [E]: 0 where there is no event. negatives int32 [N] are shared by all of them; log_q float32 [N]: log of
    how often each is drawn in expectation.
    """

    items: jax.Array
    there: jax.Array
    position: jax.Array
    at: jax.Array
    targets: jax.Array
    counts: jax.Array
    negatives: jax.Array
    log_q: jax.Array
    predicted: int = field(metadata={"static": True})


def draw(reading: Reading, key: jax.Array, size: int, length: int, negatives: int, in_batch: float = 0.0) -> Predictions:
    """The events that random windows predict; what finds no place, in one batch of 10⁹ at most, is left out."""
    of, predicted = reading.sequences, reading.predicted
    packing = next((packing for packing in of.packings if packing[:3] == (predicted, size, length)), None)
    drawn = windows(of, predicted, key, size, length)
    rows = packed(drawn.items[:, :-1], drawn.lengths(), packing)
    counts = (drawn.counts & rows.kept[:, None]).reshape(-1)
    events = jnp.nonzero(counts, size=packing.events, fill_value=0)[0] if packing else jnp.arange(counts.shape[0])
    there = counts if packing is None else jnp.arange(packing.events) < jnp.sum(counts)
    at = (rows.first[:, None] + jnp.maximum(drawn.before, 0)).reshape(-1)[events]
    targets = drawn.items.reshape(-1)[events]
    shared, log_q = mixed_negatives(reading, stream(key, "negative"), targets, there, negatives, in_batch)
    return Predictions(*rows[:3], at, targets, there.astype(jnp.float32), shared, log_q, predicted)


def mixed_negatives(
    reading: Reading, key: jax.Array, targets: jax.Array, there: jax.Array, count: int, in_batch: float
) -> tuple[jax.Array, jax.Array]:
    """`count` items, a share `in_batch` of them drawn from the targets that are `there`, the others uniform; and log q.

    q_j = uniform ones / items + those of the batch · how often windows predict j, as a share (Yang et al. 2020, mixed
    negative sampling).
    """
    predicted, of_batch = reading.predicted, round(in_batch * count)
    uniform, rate = jax.random.randint(key, (count - of_batch,), 0, predicted), (count - of_batch) / predicted
    if not of_batch:
        return uniform, jnp.full(count, jnp.log(rate))
    frequency = reading.sequences.frequency
    assert frequency is not None
    so_far = jnp.cumsum(there)
    nth = jax.random.randint(stream(key, "in_batch"), (of_batch,), 0, jnp.maximum(so_far[-1], 1))
    items = jnp.concatenate([targets[jnp.searchsorted(so_far, nth, side="right")], uniform])
    q = rate + of_batch * frequency[items] / jnp.sum(frequency[:predicted])
    return items, jnp.log(jnp.maximum(q, 1e-9))  # 0 where a batch predicts nothing: nothing is learnt from it


def losses(
    task: Task, model: SequenceModel, params: Params, batch: Predictions, dropout: jax.Array, key: jax.Array
) -> jax.Array:
    """The task's loss of every event that is predicted, from the state after the last event of an earlier day: [E].

    The negatives are shared; one that is the event itself does not count.
    dropout is the share of entries of the item vectors that the model does not see.
    """
    head = params["head"]
    told = steps(head, batch.items, batch.there, batch.position)
    kept = jax.random.bernoulli(key, 1 - dropout, told.vectors.shape)
    states = model.features(params["body"], told._replace(vectors=jnp.where(kept, told.vectors / (1 - dropout), 0.0)))
    z = states.reshape(-1, states.shape[2])[jnp.minimum(batch.at, batch.items.size - 1)]
    items, weights = batch.targets, batch.counts
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
        log_q = jnp.concatenate([jnp.zeros(1), batch.log_q])[None, :]
    outputs = jnp.concatenate([observed[:, None], others], axis=1)
    log_q = jnp.broadcast_to(log_q, outputs.shape)
    event = Batch(items, items[:, None], weights, weights, weights[:, None], log_q)
    return task.loss(outputs, event)


def mean_over_predicted(losses: jax.Array, batch: Predictions) -> jax.Array:
    """Σ counts · loss / Σ counts: the mean of `losses` over the events that are predicted."""
    return jnp.sum(batch.counts * losses) / jnp.maximum(jnp.sum(batch.counts), 1.0)


def steps(head: Params, items: jax.Array, there: jax.Array, position: jax.Array) -> Steps:
    """Item vectors of rows of steps, zero where nothing is there."""
    return Steps(jnp.where(there[:, :, None], head["items"][items], 0.0), there, position)


def candidates(head: Params, predicted: int) -> Params:
    """Output vectors [predicted, d] and biases of the items to be predicted: of a table of their own, or the inputs'."""
    return {"vectors": head.get("outputs", head["items"])[:predicted], "bias": head["bias"][:predicted]}


def scores(model: SequenceModel, reading: Reading, params: Params) -> Scores:
    """Scores of items from the last events of users; without any, from the biases alone."""

    def score(users: jax.Array) -> jax.Array:
        sequences = reading.sequences
        ends = sequences.starts[users + 1] - sequences.starts[users]
        items, _, there = window(sequences, users, ends, model.length)
        place = jnp.broadcast_to(jnp.arange(model.length)[None], items.shape)
        states = model.features(params["body"], steps(params["head"], items, there, place))
        last = jnp.clip(ends, 1, model.length) - 1
        z = jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]
        given = candidates(params["head"], reading.scored)
        return jnp.where(ends[:, None] > 0, z @ given["vectors"].T, 0.0) + given["bias"][None, :]

    return score

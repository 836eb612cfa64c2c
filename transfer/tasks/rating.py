"""task=rating: predict the rating of a hidden event; MAE and RMSE over all hidden events."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from transfer.config import schema
from transfer.data.interactions.events import Heldout, Interactions
from transfer.data.interactions.world import World, asked_users
from transfer.errors import TransferError
from transfer.program import Batch, Scores, Task


def build(settings: schema.Task, world: World) -> Task:
    """The rating task with squared error. Raises TransferError for another loss."""
    if settings.loss != "squared_error":
        raise TransferError(f"task.loss={settings.loss}: task=rating knows squared_error")
    if settings.select not in ("mae", "rmse"):
        raise TransferError(f"task.select={settings.select}: task=rating measures mae and rmse")
    return Task(
        select=settings.select,
        sign=-1,
        batch=batch,
        loss=lambda outputs, batch: jnp.square(outputs[:, 0] - batch.ratings),
        evaluate=lambda scores, heldout: measure(predict(scores, heldout, world.scale), heldout)[0],
        predict=lambda scores, heldout: predict(scores, heldout, world.scale),
        measure=measure,
        rows=asked_users,
    )


def protocol(settings: schema.Config) -> dict[str, Any]:
    """What result.json says about how figures came to be."""
    return {"predictions": "clipped to the scale of ratings", "positives": settings.task.positives}


def batch(events: Interactions, key: jax.Array, size: int) -> Batch:
    """`size` events drawn with replacement.

    The prior's weight is one over the row's number of events, so that hp.l2 = λ is the prior of ridge regression,
    λ (Σ_u |z_u|² + Σ_i |y_i|²): with biases alone the fit is the damped mean Σ residuals / (n + λ).
    """
    rows = events.draw(key, size)
    users, items = events.users[rows], events.items[rows][:, None]
    counts = (events.starts[users + 1] - events.starts[users]).astype(jnp.float32)
    weights = 1 / events.item_counts[items]
    return Batch(users, items, events.ratings[rows], 1 / counts, weights, log_q=jnp.zeros(items.shape))


def predict(scores: Scores, heldout: Heldout, scale: tuple[float, float]) -> jax.Array:
    """The rating of every hidden event, clipped to the scale: float32 [C, E], padding included."""

    def chunk(part: tuple[jax.Array, ...]) -> jax.Array:
        users, row, item = part
        return jnp.clip(scores(users)[jnp.minimum(row, users.shape[0] - 1), item], *scale)

    return jax.lax.map(chunk, (heldout.users, heldout.row, heldout.item))


def measure(
    predicted: jax.Array, heldout: Heldout, beyond: bool = True
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """MAE = mean |r - r̂| and RMSE = sqrt(mean (r - r̂)²) over all events, and of each user, float32 [users, padding last],
    mae = mean |r - r̂| and mse."""
    width = heldout.users.shape[1]
    error = heldout.rating - predicted
    terms = jnp.stack([jnp.abs(error), jnp.square(error), jnp.ones_like(error)], axis=-1)
    sums = jax.vmap(lambda row, of: jnp.zeros((width, 3)).at[row].add(of, mode="drop"))(heldout.row, terms)
    absolute, squared, counts = (sums[..., i].reshape(-1) for i in range(3))
    count = heldout.n_events.astype(jnp.float32)
    means = {"mae": jnp.sum(absolute) / count, "rmse": jnp.sqrt(jnp.sum(squared) / count)}
    counts = jnp.maximum(counts, 1.0)  # no user stands in the last rows
    return means, {"mae": absolute / counts, "mse": squared / counts}

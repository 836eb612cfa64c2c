"""task=regression: a number of each example; RMSE and MAE in its own unit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from transfer.config import schema
from transfer.data.examples.world import Examples, ExamplesWorld, HiddenExamples
from transfer.errors import TransferError
from transfer.program import Scores, Task
from transfer.tasks import classification

METRICS = ("rmse", "mae")


def build(settings: schema.Task, world: ExamplesWorld) -> Task:
    """The regression task. Raises TransferError for an unknown loss or metric."""
    if settings.loss != "squared_error":
        raise TransferError(f"task.loss={settings.loss}: task=regression knows squared_error")
    if settings.select not in METRICS:
        raise TransferError(f"task.select={settings.select}: task=regression measures {' and '.join(METRICS)}")
    return Task(
        select=settings.select,
        sign=-1,
        batch=classification.batch,
        loss=loss,
        evaluate=lambda scores, hidden: measure(predict(scores, hidden), hidden)[0],
        predict=predict,
        measure=measure,
        rows=classification.asked_examples,
    )


def protocol(settings: schema.Config) -> dict[str, Any]:
    """What result.json says about how figures came to be."""
    said = classification.protocol(settings)
    return {key: said[key] for key in ("inputs", "selected_on")} | {"predictions": "in the unit of the numbers"}


def loss(outputs: jax.Array, batch: Examples) -> jax.Array:
    """(f(x) - y)² of standardised numbers [B]."""
    return jnp.square(outputs[:, 0] - batch.y[:, 0])


def predict(scores: Scores, hidden: HiddenExamples) -> jax.Array:
    """The standardised numbers of all chunks: float32 [C, B, 1]."""
    return jax.lax.map(scores, hidden.inputs)


def measure(
    predicted: jax.Array, hidden: HiddenExamples, beyond: bool = True
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """RMSE = sqrt(mean e²) and MAE = mean |e| of e = s (f(x) - y), s the standard deviation that y was divided by; and of
    each example mae = |e| and mse = e², float32 [examples, padding last]."""
    _, s = hidden.scale
    weight, error = hidden.weight.reshape(-1), s * (predicted - hidden.y).reshape(-1)
    rows = {"mae": jnp.abs(error), "mse": jnp.square(error)}
    means = {name: jnp.sum(weight * of) / jnp.sum(weight) for name, of in rows.items()}
    return {"rmse": jnp.sqrt(means["mse"]), "mae": means["mae"]}, rows

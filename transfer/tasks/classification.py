"""task=classification: the class of an example, or its classes; log loss and what follows from the decision."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer.config import schema
from transfer.config.domains import LabelledDomains
from transfer.config.splits import ExampleSplit
from transfer.data.examples.world import Examples, ExamplesWorld, HiddenExamples
from transfer.errors import TransferError
from transfer.evaluate.label_metrics import METRICS, example_values, label_metrics
from transfer.program import Scores, Task

SIGN = {"log_loss": -1, "calibration_error": -1}


def build(settings: schema.Task, world: ExamplesWorld) -> Task:
    """The classification task. Raises TransferError for an unknown loss or metric."""
    if settings.loss != "cross_entropy":
        raise TransferError(f"task.loss={settings.loss}: task=classification knows cross_entropy")
    if settings.select not in METRICS:
        raise TransferError(f"task.select={settings.select}: task=classification measures {', '.join(METRICS)}")

    return Task(
        select=settings.select,
        sign=SIGN.get(settings.select, 1),
        batch=batch,
        loss=loss,
        evaluate=partial(evaluate, every=settings.select in ("auc", "calibration_error")),
        predict=predict,
        measure=measure,
        rows=asked_examples,
    )


def protocol(settings: schema.Config) -> dict[str, Any]:
    """What result.json says about how figures came to be."""
    assert isinstance(settings.domain, LabelledDomains)
    assert isinstance(settings.split, ExampleSplit)
    seen = " beside ".join(settings.domain.modalities) or settings.domain.features
    return {
        "inputs": f"{seen}, standardised: {settings.domain.standardise}",
        "selected_on": "labelled target examples, none of them in the test" if settings.split.target_labels else "sources",
        "macro": "mean over the classes that the hidden part has",
        "calibration": "15 bins of equal width",
    }


def batch(examples: Examples, key: jax.Array, size: int) -> Examples:
    """`size` examples drawn with replacement."""
    rows = jax.random.randint(key, (size,), 0, examples.x.shape[0])
    return examples.batch(rows)


def loss(logits: jax.Array, batch: Examples) -> jax.Array:
    """-log P of the true class; with several labels the sum over classes of -log P of each yes or no [B]."""
    if batch.multi_label:
        return jnp.sum(jax.nn.softplus(logits) - batch.y * logits, axis=1)
    return -jnp.sum(batch.y * jax.nn.log_softmax(logits, axis=1), axis=1)


def evaluate(scores: Scores, hidden: HiddenExamples, every: bool) -> dict[str, jax.Array]:
    """Metrics of a hidden part; `every` adds AUC and calibration error."""
    logits, y = _flat(predict(scores, hidden), hidden)
    return label_metrics(logits, y, hidden.weight.reshape(-1), hidden.multi_label, every)


def predict(scores: Scores, hidden: HiddenExamples) -> jax.Array:
    """The logits of all chunks: float32 [C, B, classes]."""
    return jax.lax.map(scores, hidden.inputs)


def measure(
    predicted: jax.Array, hidden: HiddenExamples, beyond: bool = True
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """All metrics, and what each example has of accuracy and log loss: float32 [examples, padding last]."""
    logits, y = _flat(predicted, hidden)
    means = label_metrics(logits, y, hidden.weight.reshape(-1), hidden.multi_label)
    return means, example_values(logits, y, hidden.multi_label)


def asked_examples(world: ExamplesWorld, hidden: HiddenExamples) -> dict[str, np.ndarray]:
    """Whose the rows of `measure` are: an example stands where a user does, with one event, no history.

    `user` is its row in the target's data, in sources that select its place; `class` its true one, where it has one only.
    """
    y = np.asarray(hidden.y).reshape(-1, world.n_classes)[: hidden.n_events]
    known_rows = ((world.test, world.tested), (world.valid, world.selecting))
    row = next((np.asarray(rows) for part, rows in known_rows if hidden is part), np.arange(len(y), dtype=np.int32))
    known = {} if world.multi_label or world.numeric else {"class": y.argmax(axis=1).astype(np.int32)}
    return {"user": row, "history": np.zeros_like(row), "events": np.ones_like(row), **known}


def _flat(logits: jax.Array, hidden: HiddenExamples) -> tuple[jax.Array, jax.Array]:
    """Logits and labels of all chunks, padding last: [C · B, classes] each."""
    return logits.reshape(-1, logits.shape[-1]), hidden.y.reshape(-1, logits.shape[-1])

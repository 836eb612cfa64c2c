"""Metrics of predicted classes, from logits on the device. Padding has weight 0."""

from __future__ import annotations

import jax
import jax.numpy as jnp

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "log_loss", "auc", "calibration_error")
BINS = 15


def label_metrics(
    logits: jax.Array, y: jax.Array, weight: jax.Array, multi_label: bool, full: bool = True
) -> dict[str, jax.Array]:
    """Metrics of logits [n, classes] against y [n, classes]; weight [n] is 1, or 0 where an example is padding.

    accuracy: share of examples whose class (or whole set of classes) is right. Several labels are decided at P = 1/2 each.
    balanced_accuracy, macro_f1, auc: means over the classes that occur (for several labels, balanced accuracy is the mean
    recall). micro_f1 pools all decisions. log_loss: mean of -log P(true class), or over classes too for several labels.
    auc: a class against the rest, ties count half. calibration_error: Σ_bins share · |mean confidence - share right|, of
    the decided class or, with several labels, of every P.
    """
    p = jax.nn.sigmoid(logits) if multi_label else jax.nn.softmax(logits, axis=1)
    decided = _decided(logits, multi_label)
    values = example_values(logits, y, multi_label)
    w, n = weight[:, None], jnp.sum(weight)
    hits, said, true = (jnp.sum(w * part, axis=0) for part in (y * decided, decided, y))
    occurs = (true > 0).astype(jnp.float32)

    def macro(values: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(occurs > 0, values, 0.0)) / jnp.maximum(jnp.sum(occurs), 1.0)

    metrics = {
        "accuracy": jnp.sum(weight * values["accuracy"]) / n,
        "balanced_accuracy": macro(hits / jnp.maximum(true, 1.0)),
        "macro_f1": macro(2 * hits / jnp.maximum(said + true, 1.0)),
        "micro_f1": 2 * jnp.sum(hits) / jnp.maximum(jnp.sum(said + true), 1.0),
    }
    metrics["log_loss"] = jnp.sum(weight * values["log_loss"]) / n
    if full:
        areas = jax.vmap(auc, in_axes=(1, 1, None))(logits if multi_label else margins(logits), y, weight)
        both = (true > 0) & (true < n)
        metrics["auc"] = jnp.sum(jnp.where(both, areas, 0.0)) / jnp.maximum(jnp.sum(both), 1).astype(jnp.float32)
        if multi_label:
            metrics["calibration_error"] = calibration_error(p.ravel(), y.ravel(), jnp.repeat(weight, y.shape[1]))
        else:
            metrics["calibration_error"] = calibration_error(jnp.max(p, axis=1), jnp.sum(y * decided, axis=1), weight)
    return metrics


def example_values(logits: jax.Array, y: jax.Array, multi_label: bool) -> dict[str, jax.Array]:
    """What each example has of accuracy (0 or 1) and log loss: logits, y [n, classes] -> float32 [n]."""
    if multi_label:
        losses = jnp.mean(jax.nn.softplus(logits) - y * logits, axis=1)
    else:
        losses = -jnp.sum(y * jax.nn.log_softmax(logits, axis=1), axis=1)
    right = jnp.all(_decided(logits, multi_label) == y, axis=1)
    return {"accuracy": right.astype(jnp.float32), "log_loss": losses}


def _decided(logits: jax.Array, multi_label: bool) -> jax.Array:
    """1 for the classes that an example is said to have, else 0."""
    return (logits > 0 if multi_label else jax.nn.one_hot(jnp.argmax(logits, axis=1), logits.shape[1])).astype(jnp.float32)


def margins(logits: jax.Array) -> jax.Array:
    """log P(class) - log P(any other) of softmax, in log space: logit_c - log Σ_(j≠c) exp logit_j, [n, classes] each.

    It orders examples as P does, also where P is 0 or 1 in float32.
    """
    nothing = jnp.full((logits.shape[0], 1), -jnp.inf)
    before = jnp.concatenate([nothing, jax.lax.cumlogsumexp(logits[:, :-1], axis=1)], axis=1)
    after = jnp.concatenate([jax.lax.cumlogsumexp(logits[:, 1:], axis=1, reverse=True), nothing], axis=1)
    return logits - jnp.logaddexp(before, after)


def auc(score: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
    """P(score of a positive > score of a negative), ties half, exactly: score, y, weight [n] -> scalar."""
    order = jnp.argsort(score)
    ordered = score[order]
    negatives = jnp.concatenate([jnp.zeros(1), jnp.cumsum((weight * (1 - y))[order])])
    below = negatives[jnp.searchsorted(ordered, score, side="left")]
    up_to = negatives[jnp.searchsorted(ordered, score, side="right")]
    positive = weight * y
    pairs = jnp.sum(positive) * negatives[-1]
    return jnp.sum(positive * (below + up_to) / 2) / jnp.maximum(pairs, 1.0)


def calibration_error(confidence: jax.Array, right: jax.Array, weight: jax.Array) -> jax.Array:
    """Expected calibration error (Guo et al. 2017) of confidences in [0, 1], bins closed above: [n] each -> scalar."""
    bin_ = jnp.clip(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
    gap = jnp.zeros(BINS).at[bin_].add(weight * (confidence - right))
    return jnp.sum(jnp.abs(gap)) / jnp.sum(weight)

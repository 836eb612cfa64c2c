"""model=softmax: multinomial logistic regression, P(y | x) ∝ exp(w_y · x + b_y), the log-linear model."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.schema import Model
from transfer.data.examples.sparse_rows import SparseBatch
from transfer.errors import TransferError
from transfer.program import Classifier, Params

TASKS = ("classification",)


def build(settings: Model) -> Classifier:
    """The inputs themselves are the features; they are flattened."""
    return Classifier(body=lambda key, shape, given: {}, head=head, features=lambda body, x: flat(x), logits=logits)


def flat(x: Any) -> Any:
    """[B, ...] -> [B, d]; a SparseBatch as it is. Raises TransferError for ids of tokens, which are no measurements."""
    if isinstance(x, SparseBatch):
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TransferError(
            "domain.features=tokens gives ids of tokens, which this model or classifier takes for measurements; "
            "write model=text_encoder, with a method that trains the model (method.classifier=model)"
        )
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def head(key: jax.Array, width: int, classes: int) -> Params:
    """Weights and intercepts, all zero: the loss is convex in them."""
    return {"kernel": jnp.zeros((width, classes)), "bias": jnp.zeros(classes)}


def logits(head: Params, z: jax.Array) -> jax.Array:
    return z @ head["kernel"] + head["bias"][None, :]

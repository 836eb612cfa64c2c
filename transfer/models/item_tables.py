"""The item tables of next-item models: one for inputs and outputs, or one for each, and a bias per item."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from transfer.config.schema import Model
from transfer.models import modules
from transfer.program import Params, Range, SequenceModel

HP = {"dropout": Range(0.2, low=0, high=1, below=True)}  # of entries of the item vectors, in training
DEFAULTS = {"task": {"loss": "sampled_softmax", "negatives": 512}}  # negatives are shared by a batch


class Settings(Model):
    dim: int = Field(default=64, ge=1)
    length: int = Field(default=50, ge=1)  # steps of the history that are seen, or of a training window
    tied: bool = True  # one table for items as inputs and as outputs
    in_batch: float = Field(default=0.0, ge=0, le=1)  # share of the negatives that are what others of the batch chose


def sequence_model(settings: Settings, make: Callable[[nnx.Rngs], Any], layers: tuple[str, ...]) -> SequenceModel:
    """A next-item model around an encoder module, Steps -> z [B, L, dim]."""

    def head(key: jax.Array, items: int) -> Params:
        scale = settings.dim**-0.5
        tables = {"items": scale * jax.random.normal(jax.random.fold_in(key, 0), (items, settings.dim))}
        if not settings.tied:
            tables["outputs"] = scale * jax.random.normal(jax.random.fold_in(key, 1), (items, settings.dim))
        return {**tables, "bias": jnp.zeros(items)}

    return SequenceModel(
        body=lambda key, _: modules.init(make, key),
        head=head,
        features=partial(modules.apply, make),
        dim=settings.dim,
        length=settings.length,
        in_batch=settings.in_batch,
        layers=layers,
    )

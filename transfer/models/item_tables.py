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
from transfer.program import Params, SequenceModel


class Settings(Model):
    """length: steps of the history that are seen; tied: one table for items as inputs and as outputs."""

    length: int = Field(ge=1)
    tied: bool


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
        layers=layers,
    )

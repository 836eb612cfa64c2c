"""model=sasrec: a causal transformer over the history, z_t = TF(x_1 … x_t), scored by s(i) = z_t · v_i + b_i.

Blocks normalise before attention and before the two-layer perceptron; positions are those in the window.

Paper: Kang, McAuley (2018), SASRec.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from transfer.errors import TransferError
from transfer.models import item_tables
from transfer.models.item_tables import sequence_model
from transfer.program import SequenceModel, Steps

TASKS = ("ranking",)


HP, DEFAULTS = item_tables.HP, item_tables.DEFAULTS


class Settings(item_tables.Settings):
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)


class Block(nnx.Module):
    """x [B, L, d] -> [B, L, d]; each step attends to itself and to earlier ones of its window."""

    def __init__(self, dim: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.before_attention, self.before_mlp = nnx.LayerNorm(dim, rngs=rngs), nnx.LayerNorm(dim, rngs=rngs)
        self.query, self.key, self.value, self.out = (nnx.Linear(dim, dim, rngs=rngs) for _ in range(4))
        self.widen, self.narrow = nnx.Linear(dim, 4 * dim, rngs=rngs), nnx.Linear(4 * dim, dim, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        y = self.before_attention(x)
        split = (*y.shape[:2], self.heads, y.shape[2] // self.heads)
        query, key, value = (layer(y).reshape(split) for layer in (self.query, self.key, self.value))
        attended = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None])
        x = x + self.out(attended.reshape(y.shape))
        return x + self.narrow(jax.nn.gelu(self.widen(self.before_mlp(x))))


class Transformer(nnx.Module):
    """Steps -> z [B, L, dim]."""

    def __init__(self, dim: int, heads: int, layers: int, length: int, rngs: nnx.Rngs):
        self.layers = layers
        self.positions = nnx.Embed(length, dim, rngs=rngs)
        for i in range(layers):
            setattr(self, f"layer{i}", Block(dim, heads, rngs))
        self.last = nnx.LayerNorm(dim, rngs=rngs)

    def __call__(self, steps: Steps) -> jax.Array:
        length = steps.vectors.shape[1]
        begins = steps.begins()
        causal = jnp.tril(jnp.ones((length, length), bool))[None] & steps.there[:, None, :]
        causal &= begins[:, :, None] == begins[:, None, :]
        mask = causal | jnp.eye(length, dtype=bool)[None]  # padding attends to itself: no row without any
        x = steps.vectors + self.positions(steps.position)
        for i in range(self.layers):
            x = getattr(self, f"layer{i}")(x, mask)
        return self.last(x)


def build(settings: Settings) -> SequenceModel:
    """The model. Raises TransferError where the heads do not divide the width."""
    if settings.dim % settings.heads:
        raise TransferError(f"model.dim={settings.dim} is not a multiple of model.heads={settings.heads}")

    def make(rngs: nnx.Rngs) -> Transformer:
        return Transformer(settings.dim, settings.heads, settings.layers, settings.length, rngs)

    names = ("positions", *(f"layer{i}" for i in range(settings.layers)), "last")
    return sequence_model(settings, make, names)

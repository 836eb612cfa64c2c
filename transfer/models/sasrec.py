"""model=sasrec: a causal transformer over the history, z_t = TF(x_1 … x_t), scored by s(i) = z_t · v_i + b_i.

Blocks normalise before attention and before the feed-forward layer; positions are those in the window. eSASRec is
`model.block=ligr` with sampled softmax and hundreds of negatives.

Paper: Kang, McAuley (2018), SASRec; Tikhonovich, Zelinskiy, Petrov et al. (2025), eSASRec.
"""

from __future__ import annotations

from typing import Literal

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
    block: Literal["sasrec", "ligr"] = "sasrec"  # ligr: gated residuals and SwiGLU


class Attention(nnx.Module):
    """What blocks share: x [B, L, d] -> [B, L, d]; each step attends to itself and to earlier ones of its window."""

    def __init__(self, dim: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.before_attention, self.before_mlp = nnx.LayerNorm(dim, rngs=rngs), nnx.LayerNorm(dim, rngs=rngs)
        self.query, self.key, self.value, self.out = (nnx.Linear(dim, dim, rngs=rngs) for _ in range(4))
        # It would move all products of a step alike, which softmax forgets: its gradient is rounding, Adam's steps are not.
        self.key.use_bias, self.key.bias = False, None

    def attend(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """out(attention(norm x))."""
        y = self.before_attention(x)
        split = (*y.shape[:2], self.heads, y.shape[2] // self.heads)
        query, key, value = (layer(y).reshape(split) for layer in (self.query, self.key, self.value))
        attended = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None])
        return self.out(attended.reshape(y.shape))


class Block(Attention):
    """x + attend(x), then x + W' gelu(W norm x)."""

    def __init__(self, dim: int, heads: int, rngs: nnx.Rngs):
        super().__init__(dim, heads, rngs)
        self.widen, self.narrow = nnx.Linear(dim, 4 * dim, rngs=rngs), nnx.Linear(4 * dim, dim, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        x = x + self.attend(x, mask)
        return x + self.narrow(jax.nn.gelu(self.widen(self.before_mlp(x))))


class LiGR(Attention):
    """x + σ(G x) ⊙ attend(x), then x + σ(G' x) ⊙ SwiGLU(norm x) with SwiGLU(y) = W' (silu(U y) ⊙ W y), without intercepts.

    Paper: Borisyuk et al. (2025), LiGR; Shazeer (2020), SwiGLU.
    """

    def __init__(self, dim: int, heads: int, rngs: nnx.Rngs):
        super().__init__(dim, heads, rngs)
        self.gate_attention, self.gate_mlp = nnx.Linear(dim, dim, rngs=rngs), nnx.Linear(dim, dim, rngs=rngs)
        self.switch, self.widen = (nnx.Linear(dim, 4 * dim, use_bias=False, rngs=rngs) for _ in range(2))
        self.narrow = nnx.Linear(4 * dim, dim, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        x = x + jax.nn.sigmoid(self.gate_attention(x)) * self.attend(x, mask)
        y = self.before_mlp(x)
        return x + jax.nn.sigmoid(self.gate_mlp(x)) * self.narrow(jax.nn.silu(self.switch(y)) * self.widen(y))


BLOCKS: dict[str, type[Block | LiGR]] = {"sasrec": Block, "ligr": LiGR}


class Transformer(nnx.Module):
    """Steps -> z [B, L, dim]."""

    def __init__(self, settings: Settings, rngs: nnx.Rngs):
        self.layers = settings.layers
        self.positions = nnx.Embed(settings.length, settings.dim, rngs=rngs)
        for i in range(settings.layers):
            setattr(self, f"layer{i}", BLOCKS[settings.block](settings.dim, settings.heads, rngs))
        self.last = nnx.LayerNorm(settings.dim, rngs=rngs)

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

    names = ("positions", *(f"layer{i}" for i in range(settings.layers)), "last")
    return sequence_model(settings, lambda rngs: Transformer(settings, rngs), names)

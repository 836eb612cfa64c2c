"""model=gru4rec: a recurrent network over the history, h_t = GRU(h_{t-1}, x_t), scored by s(i) = W h_t · v_i + b_i.

Gates r, u and candidate n: h' = (1 - u) ⊙ n + u ⊙ h with n = tanh(W_n x + b + r ⊙ (U_n h + c)).

Paper: Hidasi, Karatzoglou, Baltrunas, Tikk (2016), GRU4Rec; Cho et al. (2014), GRU.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field

from transfer.models import item_tables
from transfer.models.item_tables import sequence_model
from transfer.program import SequenceModel, Steps

TASKS = ("ranking",)


HP, DEFAULTS = item_tables.HP, item_tables.DEFAULTS


class Settings(item_tables.Settings):
    layers: int = Field(default=1, ge=1)


class Layer(nnx.Module):
    """x [B, L, d] -> states [B, L, d], of the steps so far; gates in the order reset, update, candidate."""

    def __init__(self, dim: int, rngs: nnx.Rngs):
        self.inputs, self.hidden = nnx.Linear(dim, 3 * dim, rngs=rngs), nnx.Linear(dim, 3 * dim, rngs=rngs)

    def __call__(self, x: jax.Array, first: jax.Array) -> jax.Array:
        """first bool [B, L]: where a window begins, from the state 0."""

        def step(h: jax.Array, of: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            given, begins = of
            h = jnp.where(begins[:, None], 0.0, h)
            (r, u, n), (hr, hu, hn) = jnp.split(given, 3, axis=-1), jnp.split(self.hidden(h), 3, axis=-1)
            r, u = jax.nn.sigmoid(r + hr), jax.nn.sigmoid(u + hu)
            h = (1 - u) * jnp.tanh(n + r * hn) + u * h
            return h, h

        start = jnp.zeros((x.shape[0], x.shape[2]))
        _, states = jax.lax.scan(step, start, (jnp.moveaxis(self.inputs(x), 1, 0), first.T))
        return jnp.moveaxis(states, 0, 1)


class Recurrent(nnx.Module):
    """Steps -> z [B, L, dim]."""

    def __init__(self, dim: int, layers: int, rngs: nnx.Rngs):
        self.layers = layers
        for i in range(layers):
            setattr(self, f"layer{i}", Layer(dim, rngs))
        self.last = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, steps: Steps) -> jax.Array:
        x = steps.vectors
        for i in range(self.layers):
            x = getattr(self, f"layer{i}")(x, steps.position == 0)
        return self.last(x)


def build(settings: Settings) -> SequenceModel:
    names = (*(f"layer{i}" for i in range(settings.layers)), "last")
    return sequence_model(settings, lambda rngs: Recurrent(settings.dim, settings.layers, rngs), names)

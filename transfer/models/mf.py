"""model=mf: matrix factorisation with biases, ŝ(u, i) = μ + b_u + b_i + p_u · q_i (Koren, Bell, Volinsky 2009)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config import schema
from transfer.data.interactions.events import Interactions
from transfer.program import Batch, Model, Params


class Settings(schema.Model):
    dim: int = Field(default=64, ge=1)
    init: float = Field(default=0.01, gt=0)  # standard deviation of the initial factors


def build(settings: Settings) -> Model:
    """The body holds a bias and `dim` factors per user; the head μ and the same per item of one domain."""

    def table(key: jax.Array, rows: int) -> Params:
        return {"bias": jnp.zeros(rows), "factors": settings.init * jax.random.normal(key, (rows, settings.dim))}

    def head(key: jax.Array, events: Interactions) -> Params:
        return {"mean": events.mean_rating, **table(key, events.n_items)}

    return Model(body=table, head=head, features=rows, of_items=of_items, outputs=outputs, scores=scores, penalty=penalty)


def rows(table: Params, ids: jax.Array) -> Params:
    """Rows of users or items, ids int32 of any shape: bias [...], factors [..., dim]."""
    return {"bias": table["bias"][ids], "factors": table["factors"][ids]}


def of_items(head: Params, items: jax.Array) -> Params:
    """What the head holds of the given items int32 [B, K]: the rows, and the mean."""
    return {"mean": head["mean"], **rows(head, items)}


def outputs(z: Params, y: Params) -> jax.Array:
    """Scores of the items behind y for the users behind z -> [B, K]."""
    product = jnp.einsum("bd,bkd->bk", z["factors"], y["factors"])
    return y["mean"] + z["bias"][:, None] + y["bias"] + product


def scores(head: Params, z: Params) -> jax.Array:
    """Scores of all items for the users behind z -> [B, items]."""
    return head["mean"] + z["bias"][:, None] + head["bias"][None, :] + z["factors"] @ head["factors"].T


def penalty(z: Params, y: Params, batch: Batch) -> jax.Array:
    """Weighted squared norm of the biases and factors that a batch touches, mean over its examples."""
    users, items = (jnp.square(rows["bias"]) + jnp.sum(jnp.square(rows["factors"]), axis=-1) for rows in (z, y))
    return jnp.mean(batch.user_weights * users + jnp.sum(batch.item_weights * items, axis=1))

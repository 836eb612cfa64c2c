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

    return Model(body=table, head=head, features=features, outputs=outputs, scores=scores, penalty=penalty)


def features(body: Params, users: jax.Array) -> Params:
    """Rows of the users: bias [B], factors [B, dim]."""
    return {"bias": body["bias"][users], "factors": body["factors"][users]}


def outputs(head: Params, z: Params, items: jax.Array) -> jax.Array:
    """Scores of the given items int32 [B, K] for the users behind z -> [B, K]."""
    product = jnp.einsum("bd,bkd->bk", z["factors"], head["factors"][items])
    return head["mean"] + z["bias"][:, None] + head["bias"][items] + product


def scores(head: Params, z: Params) -> jax.Array:
    """Scores of all items for the users behind z -> [B, items]."""
    return head["mean"] + z["bias"][:, None] + head["bias"][None, :] + z["factors"] @ head["factors"].T


def penalty(params: Params, batch: Batch) -> jax.Array:
    """Weighted squared norm of the biases and factors that a batch touches, mean over its examples.

    Rows are squared before they are gathered: the gradient then scatters one number per row instead of a vector.
    """
    users, items = (
        jnp.square(t["bias"]) + jnp.sum(jnp.square(t["factors"]), axis=-1) for t in (params["body"], params["head"])
    )
    return jnp.mean(batch.user_weights * users[batch.users] + jnp.sum(batch.item_weights * items[batch.items], axis=1))

"""model=cml: near is liked, ŝ(u, i) = μ + b_u + b_i - τ |p_u - q_i|² with p and q in the unit ball, τ > 0 learnt.

Rows longer than 1 are divided by their length. Here with biases, and with the task's loss in place of the paper's hinge.
Collaborative metric learning (Hsieh, Yang, Cui, Lin, Belongie, Estrin 2017), without its covariance penalty.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config import schema
from transfer.data.interactions.events import Interactions
from transfer.models import mf
from transfer.program import Model, Params


class Settings(schema.Model):
    dim: int = Field(default=64, ge=1)
    init: float = Field(default=0.1, gt=0)  # standard deviation of the initial vectors
    scale: float = Field(default=5.0, gt=0)  # where τ begins


def build(settings: Settings, power: int = 1) -> Model:
    """The parts of model=mf, in the ball. power: of its length, that a row longer than 1 is divided by."""
    free = mf.build(mf.Settings(name="mf", dim=settings.dim, init=settings.init))

    def head(key: jax.Array, events: Interactions) -> Params:
        return {**free.head(key, events), "log_scale": jnp.log(jnp.float32(settings.scale))}

    def features(body: Params, users: jax.Array) -> Params:
        return inside(mf.rows(body, users), power)

    def of_items(head: Params, items: jax.Array) -> Params:
        return {"mean": head["mean"], "log_scale": head["log_scale"], **inside(mf.rows(head, items), power)}

    return Model(
        body=free.body,
        head=head,
        features=features,
        of_items=of_items,
        outputs=outputs,
        scores=partial(scores, power=power),
        penalty=mf.penalty,
    )


def inside(rows: Params, power: int = 1) -> Params:
    """Rows of biases and vectors [..., dim] whose vectors are in the unit ball."""
    long = jnp.maximum(jnp.sum(jnp.square(rows["factors"]), axis=-1, keepdims=True), 1.0)
    return {**rows, "factors": rows["factors"] / long ** (power / 2)}


def outputs(z: Params, y: Params) -> jax.Array:
    """Scores of the items behind y for the users behind z -> [B, K]."""
    squares = jnp.sum(jnp.square(z["factors"][:, None, :] - y["factors"]), axis=2)
    return y["mean"] + z["bias"][:, None] + y["bias"] - jnp.exp(y["log_scale"]) * squares


def scores(head: Params, z: Params, power: int = 1) -> jax.Array:
    """Scores of all items for the users behind z -> [B, items]."""
    items = inside({"bias": head["bias"], "factors": head["factors"]}, power)
    p, q = z["factors"], items["factors"]
    squares = jnp.sum(jnp.square(p), axis=1)[:, None] + jnp.sum(jnp.square(q), axis=1)[None, :] - 2 * p @ q.T
    return head["mean"] + z["bias"][:, None] + items["bias"][None, :] - jnp.exp(head["log_scale"]) * squares

"""What closed forms say of every reader and item, found without looking at that very event: float32 [users, items].

The score of a reader and an item does not change with whether she has the item. So it means the same where that is known,
in training, as where it is to be found, and a model that learns on such scores learns nothing from looking at the answer.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.program import Hp
from transfer.solvers import histories


def popularity(world: World, users: jax.Array) -> jax.Array:
    """log(1 + other readers of an item), for users [B]: float32 [B, items]."""
    events = world.target.train
    own = histories.rows(events, jnp.ones_like(events.ratings), users)
    return jnp.log(events.item_counts[None, :] - own + 1)


def dense(events: Interactions) -> jax.Array:
    """1 for every event [users, items]."""
    return histories.dense(events, jnp.ones_like(events.ratings))


def from_source(world: World, hp: Hp) -> dict[str, jax.Array]:
    """Chances of the target's items by the source histories: user kNN, a ridge regression, one in a Gaussian kernel."""
    x, y = jnp.concatenate([dense(side.train) for side in world.sources], axis=1), dense(world.target.train)
    trained = (histories.user_counts(world.target.train) > 0).astype(jnp.float32)
    length = jnp.maximum(jnp.sum(x, axis=1), 1.0)
    product = x @ x.T
    cosine = product / jnp.sqrt(length[:, None] * length[None, :])
    size = (length[:, None] * length[None, :]) / jnp.square(jnp.mean(length))
    gaussian = size ** hp["power"] * jnp.exp(hp["bandwidth"] * (cosine - 1))
    linear = product / (length[:, None] * length[None, :]) ** hp["normalise"]
    return {
        "neighbours": neighbours(product, length, y, trained, hp["shrinkage"]),
        "ridge": left_out(linear, y, trained, hp["ridge"]),
        "kernel": left_out(gaussian, y, trained, hp["kernel_ridge"]),
    }


def neighbours(product: jax.Array, length: jax.Array, y: jax.Array, trained: jax.Array, shrinkage: jax.Array) -> jax.Array:
    """The share of the other readers who have an item, each counted by her likeness xᵤ·xᵥ / (|xᵤ||xᵥ| + shrinkage)."""
    norms = jnp.sqrt(length[:, None] * length[None, :])
    likeness = product / (norms + shrinkage) * trained[None, :] * (1 - jnp.eye(len(trained)))
    return likeness @ y / jnp.maximum(jnp.sum(likeness, axis=1, keepdims=True), 1e-9)


def left_out(kernel: jax.Array, y: jax.Array, trained: jax.Array, ridge: jax.Array) -> jax.Array:
    """Ridge regression of y [users, items] in a kernel [users, users] on the trained readers, around the items' shares p:
    p + k_u A⁻¹ (y - p) with A = K + ridge·I; a trained reader's row is that of a fit without her.

    Without row u the fit predicts t_u - (A⁻¹t)_u / (A⁻¹)_uu of any outcome t (Allen 1974), here of y and of the constant 1.
    """
    among = kernel * trained[:, None] * trained[None, :] + ridge * jnp.eye(len(trained))
    inverse = jnp.linalg.inv(among)
    outcome = jnp.concatenate([y, jnp.ones((len(trained), 1))], axis=1)
    dual = inverse @ (outcome * trained[:, None])
    said = jnp.where(trained[:, None] > 0, outcome - dual / jnp.diag(inverse)[:, None], kernel @ dual)
    popular = (jnp.sum(y, axis=0, keepdims=True) - y) / (jnp.sum(trained) - trained)[:, None]
    return said[:, :-1] + popular * (1 - said[:, -1:])


def from_target(world: World, hp: Hp) -> dict[str, jax.Array]:
    """Chances of the target's items by the target histories: EASE and item kNN."""
    y = dense(world.target.train)
    return {"ease": ease(y, hp["ease_ridge"]), "items": item_neighbours(y, hp["item_shrinkage"])}


def ease(y: jax.Array, ridge: jax.Array) -> jax.Array:
    """EASE (Steck 2019) regresses every item on the others; each row's prediction from a fit without that row.

    With P = (yᵀy + ridge·I)⁻¹ and a = yP the residual of row u at item i is a_ui / P_ii and its leverage in that
    regression h_ui = a_u·y_u - a_ui² / P_ii; without the row the residual is 1 / (1 - h_ui) as large.
    """
    inverse = jnp.linalg.inv(y.T @ y + ridge * jnp.eye(y.shape[1]))
    a, own = y @ inverse, jnp.diag(inverse)[None, :]
    leverage = jnp.sum(a * y, axis=1, keepdims=True) - a * a / own
    return y - a / own / (1 - leverage)


def item_neighbours(y: jax.Array, shrinkage: jax.Array) -> jax.Array:
    """Item kNN by shares: Σ_j y_uj c_ij / (n_j + shrinkage) over the reader's other items j, by the root of her length; of
    the n_j other readers of j, c_ij have i too (Deshpande & Karypis 2004, conditional probabilities)."""
    weight = y / (jnp.sum(y, axis=0) - 1 + shrinkage)[None, :]  # she is one of the readers of j
    total = jnp.sum(weight, axis=1, keepdims=True) - weight
    together = (y.T @ y) * (1 - jnp.eye(y.shape[1]))
    length = jnp.sum(y, axis=1, keepdims=True) - y
    return (weight @ together - y * total) / jnp.sqrt(jnp.maximum(length, 1.0))


def from_texts(world: World) -> dict[str, jax.Array]:
    """The likeness of an item's text to those of the reader's source items, mean cosine."""
    if world.target.text is None:
        return {}
    total = sum(dense(side.train) @ side.text for side in world.sources if side.text is not None)
    length = sum(histories.user_counts(side.train) for side in world.sources)
    return {"text": total @ world.target.text.T / jnp.maximum(length, 1.0)[:, None]}

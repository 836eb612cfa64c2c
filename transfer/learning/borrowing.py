"""New and rare items borrow from their nearest known ones: q_i ← (n_i q_i + c Σ_j a_ij q_j / Σ_j a_ij) / (n_i + c).

q_i is what the model holds of an item (factors and bias, or its row of the item tables), n_i its number of training events,
c = method.known. j runs over the method.borrow items, of all domains that share the model's space, with the largest cosine
a_ij > 0 to item i over all blocks of features, among those with c events or more. An item without a block, or
without anything like it, keeps what it has. The blend is made wherever scores are: what is learnt stays as it is.

Paper: Volkovs, Yu, Poutanen (2017), cold items from their content; the blend is the posterior mean of a Gaussian prior.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import Side, World
from transfer.errors import TransferError
from transfer.program import AnyWorld, Done, Fit, Hp, Params, Scores


class Borrows(Method):
    borrow: int = Field(default=0, ge=0)  # items of which a new or rare one takes the mean; 0: none
    known: int = Field(default=5, ge=1)  # training events of those; an item with as many keeps half of its own


def borrowing(config: Config, world: AnyWorld, fit: Fit) -> Fit:
    """The fit of {"head"}, and perhaps {"sources": heads} in the same space, whose items borrow where it is scored.

    Raises TransferError where items have nothing to be compared by.
    """
    count, known = config.method.borrow, config.method.known
    if not count:
        return fit
    if not getattr(getattr(world, "target", None), "features", None):
        raise TransferError(
            f"method.borrow={count} compares items by their features, and here they have none; give them some with "
            "domain.text_dim=128 or domain.features, or leave it out"
        )

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        params = done[fit.name]
        heads = [params["head"], *params.get("sources", [])]
        head = lent(heads, [world.target, *world.sources][: len(heads)], count, known)
        return fit.scores(world, {**done, fit.name: {**params, "head": head}}, hp)

    return fit._replace(scores=scores)


def lent(heads: list[Params], sides: list[Side], count: int, known: int) -> Params:
    """The first of the heads after its items have borrowed from items of all of them."""
    events = jnp.concatenate([side.train.item_counts for side in sides])
    items = sides[0].train.n_items
    alike = sum(_cosines(sides, name) for name in sides[0].features)
    itself = jnp.arange(items)[:, None] == jnp.arange(events.shape[0])[None, :]
    alike = jnp.where((events >= known)[None, :] & ~itself, alike, 0.0)
    nearest, places = jax.lax.top_k(jnp.maximum(alike, 0.0), min(count, events.shape[0]))
    total = jnp.sum(nearest, axis=1)
    own = events[:items]
    share = jnp.where(total > 0, known / (own + known), 0.0)

    def blend(*leaves: Any) -> Any:
        if not leaves[0].ndim:  # a mean, which is of the domain and not of an item
            return leaves[0]
        flat = jnp.concatenate(leaves).reshape(events.shape[0], -1)
        mean = jnp.einsum("ik,ikd->id", nearest / jnp.maximum(total, 1e-9)[:, None], flat[places])
        mixed = flat[:items] + share[:, None] * (mean - flat[:items])
        return mixed.reshape(leaves[0].shape)

    return jax.tree.map(blend, *heads)


def _cosines(sides: list[Side], name: str) -> jax.Array:
    """Of the target's items with those of all domains by one block, 0 without it: float32 [items, all items]."""
    rows = jnp.concatenate([side.features[name] for side in sides])
    unit = rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit[: sides[0].train.n_items] @ unit.T

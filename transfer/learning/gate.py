"""What is known of a reader before she has been recommended anything, from which a gate foretells whether a source helps
her: w(u) = σ(logit w + a·z_u).

z_u float32 [traits]: ln(1 + events) in the target and in the sources, her surprise -mean ln(share of an item's events)
over the items of her source histories, and how near her neighbours are: the mean cosine with the NEAREST readers of both
domains.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from transfer.data.interactions.world import World
from transfer.program import Hp
from transfer.solvers import histories
from transfer.solvers.likeness import likeness, readers

TRAITS = ("target", "source", "surprise", "nearness")
NEAREST = 10
COSINE = {"source_weight": jnp.float32(1.0), "normalise": jnp.float32(0.5)}


def traits(world: World) -> Callable[[jax.Array], jax.Array]:
    """Users [B] -> z float32 [B, 4]; what a world without sources cannot say is 0."""
    known = jnp.log1p(histories.user_counts(world.target.train))
    if not world.sources:
        return lambda users: jnp.zeros((users.shape[0], len(TRAITS))).at[:, 0].set(known[users])
    events = histories.joined([side.train for side in world.sources])
    counts, others = histories.user_counts(events), readers(world)
    share = events.item_counts / jnp.maximum(jnp.sum(events.item_counts), 1.0)
    rare = -jnp.log(jnp.maximum(share, 1e-12)).at[events.items].get(mode="fill", fill_value=0.0)
    surprise = jax.ops.segment_sum(rare, events.users, world.n_users) / jnp.maximum(counts, 1.0)
    alike = likeness(world, COSINE, others)

    def of(users: jax.Array) -> jax.Array:
        cosine = jnp.where(users[:, None] == others[None, :], 0.0, alike(users))
        nearness = jnp.mean(jax.lax.top_k(cosine, min(NEAREST, others.shape[0]))[0], axis=1)
        return jnp.stack([known[users], jnp.log1p(counts)[users], surprise[users], nearness], axis=1)

    return of


def tilted(shares: jax.Array, slopes: jax.Array, z: jax.Array) -> jax.Array:
    """Shares [members] of each reader [B, members]: the odds of the first member against the others times exp(a·z_u)."""
    odds = shares[None, :] * jnp.where(jnp.arange(shares.shape[0]) == 0, jnp.exp(z @ slopes)[:, None], 1.0)
    return odds / jnp.sum(odds, axis=1, keepdims=True)


def slopes_of(hp: Hp) -> jax.Array:
    """a float32 [traits], the numbers hp.gate_TRAIT."""
    return jnp.stack([jnp.float32(hp[f"gate_{name}"]) for name in TRAITS])

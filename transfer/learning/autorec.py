"""Autoencoders of users' histories in one domain: h_u = tanh(W x_u + b), ŷ_u = base + V h_u + c (AutoRec).

x_u are the user's ratings less the base, or ones for what was chosen, over the root of their number; the base is μ + b_i,
in ranking the logarithm of an item's count. The misfit of a row is the mean squared error of its ratings, or the mean
-log softmax(ŷ_u) of what was chosen. Events are hidden from x_u in training at the rate hp.dropout.

Paper: Sedhain, Menon, Sanner, Xie (2015), AutoRec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.data.interactions.world import Interactions, Side, World
from transfer.program import SIDES, Done, Fit, Hp, Params, Scores, Solve, adamw, stream
from transfer.solvers import biases, histories


class KnownRows(NamedTuple):
    """What is known of some users in a domain: values, and there (1: known) float32 [B, items]."""

    values: jax.Array
    there: jax.Array


def known_rows(events: Interactions, users: jax.Array) -> KnownRows:
    """The rows of users [B]."""
    return KnownRows(
        histories.rows(events, events.ratings, users), histories.rows(events, jnp.ones_like(events.ratings), users)
    )


def draw_users(events: Interactions, key: jax.Array, size: int) -> jax.Array:
    """Users by their number of events, since the losses are means over events."""
    return events.users[events.draw(key, size)]


def misfit(outputs: jax.Array, known: KnownRows, rating: bool) -> jax.Array:
    """Of each row the mean over what is known of (y - ŷ)², or of -log softmax(ŷ): [B, items] -> [B]."""
    errors = jnp.square(known.values - outputs) if rating else -jax.nn.log_softmax(outputs, axis=1)
    return jnp.sum(errors * known.there, axis=1) / jnp.maximum(jnp.sum(known.there, axis=1), 1.0)


def stages(rating: bool, dim: int, size: int) -> tuple[Fit | Solve, ...]:
    """The autoencoders of the first source and of the target, then the codes of all users by all that is visible.

    done["codes"][domain]: h [users, dim]; there [users], 1 for who has a history; base [items].
    """

    def base(events: Interactions, damping: jax.Array) -> jax.Array:
        """What is said of an item to everybody [items]."""
        if not rating:
            return jnp.log(events.item_counts + 1)
        items = biases.item_biases(events, damping)
        return items["mean"] + items["bias"]

    def encode(params: Params, known: KnownRows, base: jax.Array) -> jax.Array:
        x = (known.values - base[None, :]) * known.there if rating else known.there
        x = x / jnp.sqrt(jnp.maximum(jnp.sum(known.there, axis=1, keepdims=True), 1.0))
        return jnp.tanh(x @ params["encoder"]["kernel"] + params["encoder"]["bias"][None, :])

    def decode(params: Params, h: jax.Array, base: jax.Array) -> jax.Array:
        return base[None, :] + h @ params["decoder"]["kernel"] + params["decoder"]["bias"][None, :]

    def autoencoder(name: str, side: Callable[[World], Side]) -> Fit:
        def init(world: World, done: Done, key: jax.Array) -> Params:
            items, normal = side(world).fit.n_items, jax.random.normal
            encoder = items**-0.5 * normal(stream(key, "encoder"), (items, dim))
            decoder = 0.01 * normal(stream(key, "decoder"), (dim, items))
            pairs = {"encoder": encoder, "decoder": decoder}
            return {part: {"kernel": kernel, "bias": jnp.zeros(kernel.shape[1])} for part, kernel in pairs.items()}

        def batch(world: World, done: Done, key: jax.Array) -> KnownRows:
            return known_rows(side(world).fit, draw_users(side(world).fit, key, size))

        def loss(params: Params, done: Done, known: KnownRows, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
            base = done["base"][name]
            kept = jax.random.bernoulli(key, 1 - hp["dropout"], known.there.shape).astype(jnp.float32)
            h = encode(params, known._replace(there=known.there * kept), base)
            return jnp.mean(misfit(decode(params, h, base), known, rating))

        def scores(world: World, done: Done, hp: Hp) -> Scores:
            params, base = done[name], done["base"][name]
            return lambda users: decode(params, encode(params, known_rows(side(world).fit, users), base), base)

        return Fit(
            name,
            init=init,
            batch=batch,
            loss=loss,
            size=lambda world: side(world).fit.users.shape[0],
            scores=scores,
            heldout=lambda world: side(world).stop,
            optimizer=optimizer,
        )

    def bases(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        return {name: base(side(world).fit, hp["damping"]) for name, side in SIDES.items()}

    def codes(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        def codes_of(name: str, events: Interactions) -> Params:
            level = base(events, hp["damping"])
            some = histories.blocks(world.n_users, events.n_items)
            h = jax.lax.map(lambda users: encode(done[name], known_rows(events, users), level), some)
            h = h.reshape(-1, h.shape[2])[: world.n_users]
            return {"h": h, "there": (histories.user_counts(events) > 0).astype(jnp.float32), "base": level}

        return {name: codes_of(name, side(world).train) for name, side in SIDES.items()}

    fits = [autoencoder(name, side) for name, side in SIDES.items()]
    return (Solve("base", bases), *fits, Solve("codes", codes))


def optimizer(hp: Hp) -> Any:
    """Adam with the weight decay hp.decay."""
    return adamw(hp["learning_rate"], hp["decay"])

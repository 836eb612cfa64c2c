"""Mixture of experts by source, p = Σ_i share_i p_i: the classifiers of the sources in shares that are learnt."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from transfer.data.examples.world import ExamplesWorld, Inputs, evenly_spaced
from transfer.models.softmax import flat
from transfer.program import Done, Hp, Params, Scores
from transfer.solvers.ratios import proportions

SourceLogits = Callable[[Inputs], list[jax.Array]]  # the logits that the classifier of each source gives
ROUNDS = 50  # of expectation-maximisation for the shares


def learn_shares(
    source_logits: Callable[[ExamplesWorld, Done, Hp], SourceLogits],
    world: ExamplesWorld,
    done: Done,
    hp: Hp,
    key: jax.Array,
) -> Params:
    """Shares of the sources' classifiers: by labelled target examples on validation, else by the target's inputs alone.

    What a source holds out says how its classifier does at home, and not how it does on the target.
    """
    if world.labelled is None:
        return {"shares": resemblance(world)}
    hidden, classifiers = world.valid, source_logits(world, done, hp)
    classes = hidden.y.shape[-1]
    logits = jax.lax.map(lambda inputs: jnp.stack(classifiers(inputs)), hidden.inputs)  # [chunks, sources, B, classes]
    flattened = jnp.moveaxis(logits, 1, 0).reshape(len(world.sources), hidden.weight.size, classes)
    y = hidden.y.reshape(hidden.weight.size, classes)
    likely = density(flattened, y) if world.numeric else likelihood(flattened, y, world.multi_label)
    return {"shares": mixture_shares(likely, hidden.weight.ravel())}


def resemblance(world: ExamplesWorld) -> jax.Array:
    """Shares [sources]: those in which the sources' inputs together resemble the target's, times the sources' examples.

    A classifier that has learnt from few examples knows less. Shares are as the numbers of examples for ids of tokens.
    """
    counts = jnp.array([float(side.train.x.shape[0]) for side in world.sources])
    if jnp.issubdtype(world.unlabelled.dtype, jnp.floating):  # ids are no points of a space
        xs = [flat(evenly_spaced(side.train.x)) for side in world.sources]
        counts = counts * proportions(xs, flat(evenly_spaced(world.unlabelled)))
    return counts / jnp.sum(counts)


def mixture_logits(world: ExamplesWorld, done: Done, source_logits: SourceLogits) -> Scores:
    """Logits of the mixture of the sources' classifiers, in equal shares before these are learnt."""

    def score(inputs: Inputs) -> jax.Array:
        logits = source_logits(inputs)
        if len(logits) == 1:
            return logits[0]
        shares = done["mix"]["shares"] if done["mix"] else jnp.full(len(logits), 1 / len(logits))
        if world.numeric:
            return jnp.einsum("s,sbc->bc", shares, jnp.stack(logits))
        return pooled(jnp.stack(logits), shares, world.multi_label)

    return score


def likelihood(logits: jax.Array, y: jax.Array, multi_label: bool) -> jax.Array:
    """P(labels) by each source's classifier: logits [sources, n, classes], y [n, classes] -> [sources, n]."""
    if multi_label:
        return jnp.exp(-jnp.mean(jax.nn.softplus(logits) - y[None] * logits, axis=-1))
    return jnp.sum(jax.nn.softmax(logits, axis=-1) * y[None], axis=-1)


def density(outputs: jax.Array, y: jax.Array) -> jax.Array:
    """exp(-(y - f)² / 2) of standardised numbers by each source's model: [sources, n, 1], y [n, 1] -> [sources, n]."""
    return jnp.exp(-jnp.sum(jnp.square(outputs - y[None]), axis=-1) / 2)


def mixture_shares(likelihood: jax.Array, weight: jax.Array) -> jax.Array:
    """Shares of a mixture that maximise Σ_n weight_n log Σ_i share_i likelihood_in, by EM: [sources, n] -> [sources].

    They are equal where no example has a weight.
    """

    def em_round(shares: jax.Array, _: None) -> tuple[jax.Array, None]:
        joint = shares[:, None] * likelihood + 1e-12
        responsibility = weight[None, :] * joint / jnp.sum(joint, axis=0, keepdims=True)
        return jnp.sum(responsibility, axis=1) / jnp.maximum(jnp.sum(responsibility), 1e-12), None

    equal = jnp.full(likelihood.shape[0], 1 / likelihood.shape[0])
    shares, _ = jax.lax.scan(em_round, equal, None, length=ROUNDS)
    return jnp.where(jnp.sum(weight) > 0, shares, equal)


def pooled(logits: jax.Array, shares: jax.Array, multi_label: bool) -> jax.Array:
    """Logits of the mixed probabilities: [sources, B, classes], [sources] -> [B, classes]."""
    if multi_label:
        p = jnp.einsum("s,sbc->bc", shares, jax.nn.sigmoid(logits))
        return jnp.log(p + 1e-7) - jnp.log1p(1e-7 - p)
    return jnp.log(jnp.einsum("s,sbc->bc", shares, jax.nn.softmax(logits, axis=-1)) + 1e-12)

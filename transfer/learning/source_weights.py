"""What every source is worth to a map from source histories: weights w ≥ 0, exactly 0 for what does not help.

They minimise the squared error with which the target's items are foretold for readers whom neither the regression nor
the popularity p has seen: Σ_u |e_u|², e_u = (A⁻¹ Y)_u / (A⁻¹)_uu - h_u p_-u, h_u = (A⁻¹ 1)_u / (A⁻¹)_uu (Allen 1974),
A = Σ_d w_d² K_d + λI, K_d the likeness of histories in source d, Y the training readers' items, p_-u their mean without
u's. Steps go by the sign of the gradient (Riedmiller & Braun 1993, Rprop) and end at the walls w = 0. Or as many sources as
are asked for have w = 1, taken one after another: each time that with which the error is least (forward selection). Or no
source, all alike or the learnt weights, whichever serves readers left out best.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.program import Done, Hp, Params, Solve
from transfer.solvers import histories, joint, likeness

STAGE = "sources"
CANDIDATES = ("none", "equal", "learnt")  # of method.sources=chosen, in this order
EQUAL, HOW = "equal", r"^(equal|learnt|chosen|best_[1-9]\d*)$"  # the values of method.sources
ROUNDS = 40
CELLS = 2**25  # of the matrices K of all sources together: so many readers are looked at, evenly spaced
READERS = 1500  # and no more than these
JUDGES = 4096  # of a choice, for whom no matrix of each source is needed
LIST, ITEMS = 10, 1000  # a choice is judged by nDCG of lists of so many of the most chosen items
TIED = 1e-6  # scores that are nearer to each other are equal but for rounding


def stages(config: Config, world: World) -> tuple[Solve, ...]:
    """The stage that `method.sources` asks for; none where all are alike. Raises TransferError for what cannot be learnt.

    It reads hp.ridge (λ) and those of `transfer.solvers.likeness`, and gives {"weights": w, "without": the rise of the
    error, as a share of it, where a source is left out}, float32 [sources]; where some are taken also "taken", int32
    [count], which they are in their order, and "errors" with each and those before it; of a choice "reached", nDCG@10 by
    each of CANDIDATES, and "alone", what each source by itself gains over popularity.
    """
    how, _, wanted = config.method.sources.partition("_")
    if how == EQUAL:
        return ()
    if config.task.name != "ranking":
        raise TransferError(
            f"method.sources={config.method.sources} learns from likes: write task=ranking, or leave it out"
        )
    if int(wanted or 1) > len(world.sources):
        raise TransferError(
            f"method.sources=best_{wanted}: the world has {len(world.sources)} sources; name no more, or learnt"
        )
    solve: Any = {"learnt": learn, "chosen": choose, "best": partial(forward, count=int(wanted or 1))}[how]
    return (Solve(STAGE, solve),)


def learn(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
    """Weights that begin at 1."""
    unseen = unseen_readers(world, hp)
    weights, least = _descend(unseen)
    return {"weights": weights, "without": _without(unseen, weights, least)}


def _descend(unseen: Unseen) -> tuple[jax.Array, jax.Array]:
    """The weights [sources] of the least error, and that."""

    def walk(state: Any, _: None) -> tuple[Any, None]:
        weights, step, before, best = state
        now, gradient = jax.value_and_grad(unseen.error)(weights)
        best = jax.tree.map(lambda new, old: jnp.where(now < best[0], new, old), (now, weights), best)
        turned = gradient * before < 0
        step = jnp.clip(jnp.where(turned, 0.5, 1.2) * step, 1e-3, 0.3)
        return (jnp.maximum(weights - jnp.sign(gradient) * step, 0.0), step, gradient, best), None

    start = jnp.ones(unseen.alike.shape[0])
    state = (start, jnp.full_like(start, 0.1), jnp.zeros_like(start), (jnp.float32(jnp.inf), start))
    (*_, (least, weights)), _ = jax.lax.scan(walk, state, None, length=ROUNDS)
    return weights, least


def choose(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
    """No source, all alike, or the weights that are learnt, by nDCG@10 for readers whom the regression has not seen.

    All alike take the place of none where they are better on the mean, and learnt weights, which were fitted to some of
    these readers, where their mean gain is above its standard error. Many judge, for sources say little to few readers.
    """
    unseen, count = unseen_readers(world, hp), len(world.sources)
    candidates = jnp.stack([jnp.zeros(count), jnp.ones(count), _descend(unseen)[0]])
    judges = _chosen_readers(world, JUDGES)
    among, others = _others(world, judges)
    few, counts = _lists(world, judges, among)

    def by(weights: jax.Array) -> jax.Array:
        alike = likeness.among(world, with_learnt(hp, {STAGE: {"weights": weights}}), judges)
        return reached(_errors(alike * among[:, None] * among[None, :], hp["ridge"], among, others), few, counts)

    def mean(values: jax.Array) -> jax.Array:
        return jnp.sum(among * values) / jnp.maximum(jnp.sum(among), 1.0)

    lists = jax.lax.map(by, candidates)  # what everybody reaches by each [3, m]
    best = jnp.where(mean(lists[1] - lists[0]) > 0, 1, 0)
    gains = lists[2] - lists[best]
    spread = jnp.sqrt(mean(jnp.square(gains - mean(gains))) / jnp.maximum(jnp.sum(among), 1.0))
    best = jnp.where(mean(gains) > spread, 2, best)
    chosen = candidates[best]
    alone = jax.vmap(unseen.mean)(jax.lax.map(unseen.reached, jnp.concatenate([jnp.zeros((1, count)), jnp.eye(count)])))
    return {
        "weights": chosen,
        "without": _without(unseen, chosen, unseen.error(chosen)),
        "reached": jax.vmap(mean)(lists),
        "alone": alone[1:] - alone[0],
    }


def forward(world: World, done: Done, hp: Hp, key: jax.Array, *, count: int) -> Params:
    """Weights of 1 for `count` sources."""
    unseen = unseen_readers(world, hp)
    one_each = jnp.eye(len(world.sources))

    def one_more(weights: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        errors = jax.lax.map(unseen.error, jnp.maximum(weights[None, :], one_each))
        errors = jnp.where(weights > 0, jnp.inf, errors)
        best = jnp.argmin(errors)
        return jnp.maximum(weights, one_each[best]), (best, errors[best])

    weights, (taken, errors) = jax.lax.scan(one_more, jnp.zeros(len(world.sources)), None, length=count)
    return {"weights": weights, "without": _without(unseen, weights, errors[-1]), "taken": taken, "errors": errors}


class Unseen(NamedTuple):
    """Some readers, of whom each is foretold by the others.

    alike float32 [sources, m, m]: what every source adds to their likeness where its weight is 1;  products [m, m]: Y Yᵀ;
    few [m, ITEMS]: the columns of Y of the most chosen items;  counts [m]: of all of hers;  among [m]: 1 for who has a
    target history;  others [m, m]: whose mean is popularity for each, p_-u.
    """

    alike: jax.Array
    products: jax.Array
    few: jax.Array
    counts: jax.Array
    among: jax.Array
    others: jax.Array
    ridge: jax.Array

    def mean(self, values: jax.Array) -> jax.Array:
        """Of what each reader has [m], over those who are foretold."""
        return jnp.sum(self.among * values) / jnp.maximum(jnp.sum(self.among), 1.0)

    def errors(self, weights: jax.Array) -> jax.Array:
        """The matrix [m, m] whose product with Y is e."""
        return _errors(jnp.einsum("d,duv->uv", jnp.square(weights), self.alike), self.ridge, self.among, self.others)

    def error(self, weights: jax.Array) -> jax.Array:
        """Of the weights of the sources [sources] the squared error, as a share of what popularity leaves open."""

        def squares(errors: jax.Array) -> jax.Array:
            """Σ_u |e_u|² of e = errors Y."""
            return jnp.sum(self.among * jnp.sum((errors @ self.products) * errors, axis=1))

        return squares(self.errors(weights)) / squares(jnp.eye(self.among.shape[0]) - self.others)

    def reached(self, weights: jax.Array) -> jax.Array:
        """nDCG@10 of each reader [m] by the weights of the sources."""
        return reached(self.errors(weights), self.few, self.counts)


def _errors(alike: jax.Array, ridge: jax.Array, among: jax.Array, others: jax.Array) -> jax.Array:
    """The matrix [m, m] whose product with Y is e, of the readers' likeness [m, m]."""
    inverse = jnp.linalg.inv(alike + ridge * jnp.eye(among.shape[0]))
    seen = inverse / jnp.diag(inverse)[:, None]
    return seen - (seen @ among)[:, None] * others


def reached(errors: jax.Array, few: jax.Array, counts: jax.Array) -> jax.Array:
    """nDCG@10 of each reader [m] by the scores Y - errors Y of a few items, 0 where there is nothing of hers to find.

    Of items that are equally likely, as many are where popularity alone speaks, hers come first or last: the mean.
    """
    scores = few - errors @ few
    lists = [jax.lax.top_k(scores + edge * few, min(LIST, few.shape[1]))[1] for edge in (-TIED, TIED)]
    found = jnp.mean(jnp.stack([jnp.take_along_axis(few, places, axis=1) for places in lists]), axis=0)
    gain = 1 / jnp.log2(jnp.arange(found.shape[1], dtype=jnp.float32) + 2)
    ideal = jnp.cumsum(gain)[jnp.clip(counts.astype(jnp.int32), 1, len(gain)) - 1]
    return found @ gain / ideal


def unseen_readers(world: World, hp: Hp) -> Unseen:
    """Readers of both domains, as many as there is room for."""
    users = _chosen_readers(world, min(READERS, math.isqrt(CELLS // len(world.sources))))
    among, others = _others(world, users)
    y = among[:, None] * histories.rows(world.target.train, jnp.ones_like(world.target.train.ratings), users)
    alike = likeness.by_source(world, hp, users) * among[None, :, None] * among[None, None, :]
    return Unseen(alike, y @ y.T, *_lists(world, users, among), among, others, hp["ridge"])


def _chosen_readers(world: World, most: int) -> jax.Array:
    """Of those whom both domains know so many, evenly spaced."""
    known = likeness.readers(world)
    some = min(most, known.shape[0])
    return known[jnp.arange(some) * known.shape[0] // some]


def _others(world: World, users: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Who of some readers has a target history [m], and whose mean is popularity for each [m, m]."""
    trained = histories.user_counts(world.target.train) > 0
    among = trained.at[users].get(mode="fill", fill_value=False).astype(jnp.float32)
    return among, (among[None, :] - jnp.eye(users.shape[0])) / jnp.maximum(jnp.sum(among) - 1, 1.0)


def _lists(world: World, users: jax.Array, among: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The columns of Y of the most chosen items [m, ITEMS], and how many items each reader has [m]."""
    events = joint.most_chosen(world, ITEMS).target.train
    counts = histories.user_counts(world.target.train).at[users].get(mode="fill", fill_value=0.0)
    return among[:, None] * histories.rows(events, jnp.ones_like(events.ratings), users), among * counts


def _without(unseen: Unseen, weights: jax.Array, least: jax.Array) -> jax.Array:
    """The rise of the error where each source is left out, as a share of the error; 0 for one that has no weight."""

    def rise(one: jax.Array) -> jax.Array:
        return jax.lax.cond(weights @ one > 0, lambda: unseen.error(weights * (1 - one)) / least - 1, lambda: 0.0)

    return jax.lax.map(rise, jnp.eye(weights.shape[0]))


def with_learnt(hp: Hp, done: Done) -> Hp:
    """The numbers of a method, hp.source_weight_1, … times what was learnt where it was."""
    if STAGE not in done:
        return hp
    weights = done[STAGE]["weights"]
    names = [f"source_weight_{i + 1}" for i in range(weights.shape[0])]
    return {**hp, **{name: hp.get(name, 1.0) * weight for name, weight in zip(names, weights, strict=True)}}

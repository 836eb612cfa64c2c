"""Greedy ensemble selection (Caruana et al. 2004) on the scores of readers whom no candidate has seen, judged by folds.

It begins with some copies of the best candidate, and adds the one, again and again, with which the mean of the standardised
scores is best; it ends where none makes it better. A reader is judged by weights that were chosen on the other folds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transfer.auto.decision import Candidate
from transfer.data.interactions.world import World, asked_users
from transfer.experiment.build import build_task
from transfer.experiment.members import OWN
from transfer.experiment.run import Result, load_run
from transfer.learning import gate
from transfer.learning.guard import standardised
from transfer.report.comparison.per_user import Array, Tested, column_of, linearised
from transfer.results.predictor import Predictor

LARGEST = 2**32  # bytes that the scores of all members and readers may take; beyond it there are fewer members
FIRST, ROUNDS = 4, 10  # copies of the best that it begins with, so that another begins with a fifth; most additions
Counts = tuple[int, ...]  # how often each member has been added


class Fold(NamedTuple):
    """A fold's readers: who they are, values(counts) [readers], what a mixture of the members gives each of them, and what
    a gate needs: traits [readers, traits], and gated(shares [readers, members]), the values of shares of their own."""

    pair: tuple[str, int]
    readers: Tested
    values: Callable[[Counts], Array]
    traits: Array | None = None
    gated: Callable[[Array], Array] | None = None


def pool_of(tried: list[Candidate], most: int) -> list[Candidate]:
    """At most so many of the best candidates, of which mixtures are made, the best first; with them the best that sees a
    source and the best that sees none. Nobody where there are no folds, and for classes."""
    able = [one for one in tried if all(word.partition(".")[0].partition("=")[0] in OWN for word in one.words)]
    ranked = sorted((one for one in able if len(one.runs) > 1 and not one.of_examples), key=lambda one: -one.score)
    if most < 2 or len(ranked) < 2:
        return []
    world = _predictor(load_run(ranked[0].runs[0].folder)).loaded.world
    most = min(most, LARGEST // (4 * int(world.valid.n_users) * world.n_items * len(ranked[0].runs)))
    needed = [next((one for one in ranked if one.uses_source is sees), None) for sees in (True, False)]
    pool = ranked[: max(most, 2)]
    for one in needed:
        if one and not any(one is other for other in pool):
            pool[-1] = one
    return pool if most >= 2 else []


def chosen(pool: list[Candidate], folds: list[Fold], metric: str, sign: int) -> Candidate | None:
    """The ensemble that all folds choose, with the values by reader of those that the other folds of each choose."""
    known: dict[tuple[int, Counts], Array] = {}

    def values(number: int, counts: Counts) -> Array:
        if (number, counts) not in known:
            known[number, counts] = folds[number].values(counts)
        return known[number, counts]

    def score(counts: Counts, numbers: list[int]) -> float:
        parts = [linearised(metric, values(number, counts), folds[number].readers.events) for number in numbers]
        return sign * float(np.mean([weight @ value for value, weight in parts]))

    everywhere = list(range(len(folds)))
    counts = greedy(partial(score, numbers=everywhere), len(pool))
    if sum(count > 0 for count in counts) < 2:
        return None
    nested = {}
    for number, fold in enumerate(folds):
        others = [other for other in everywhere if other != number]
        own = values(number, greedy(partial(score, numbers=others), len(pool)))
        nested[fold.pair] = fold.readers._replace(values={column_of(metric): own})
    members = [(one, count / sum(counts)) for one, count in zip(pool, counts, strict=True) if count]
    said = ",".join(f'"{one.name}"' for one, _ in members)
    weights = [f"hp.weight_{place}={share:.4g}" for place, (_, share) in enumerate(members, 1)]
    return Candidate(
        ("method=ensemble", f"method.members=[{said}]", *weights),
        [run for one, _ in members for run in one.runs],
        members[0][0].file,
        called="ensemble of " + " + ".join(f"{share:.0%} {one.name}" for one, share in members),
        nested=nested,
    )


def greedy(score: Callable[[Counts], float], size: int) -> Counts:
    """Counts [size]: from the best alone, one more of whatever makes the score highest, as long as it rises."""
    one = np.eye(size, dtype=int)

    def scored(counts: np.ndarray) -> float:
        return score(_reduced(counts))

    counts = FIRST * max(one, key=scored)
    for _ in range(ROUNDS):
        best = max((counts + row for row in one), key=scored)
        if not scored(best) > scored(counts):
            break
        counts = best
    return _reduced(counts)


def _reduced(counts: np.ndarray) -> Counts:
    """The same weights in the smallest whole numbers."""
    return tuple((counts // np.gcd.reduce(counts)).tolist())


def folds_of(pool: list[Candidate]) -> list[Fold]:
    """The validation readers of every fold, with what mixtures of the members' scores give them; what is compiled for one
    fold serves those of its shape. Raises TransferError where runs have not kept their parameters."""
    members = [[_predictor(load_run(run.folder)) for run in one.runs] for one in pool]
    config = load_run(pool[0].runs[0].folder).config
    score = [_scored(of[0]) for of in members]
    world = members[0][0].loaded.world
    task, known = build_task(config, world), jax.jit(lambda world, users: gate.traits(world)(users))
    column = column_of(task.select)

    @jax.jit
    def examined(world: World, tables: jax.Array, shares: jax.Array) -> jax.Array:
        """Values [readers] of shares [members, readers] of the tables [members, readers, items]."""
        row = jnp.zeros(world.n_users, jnp.int32).at[_asked(world)].set(jnp.arange(tables.shape[1]), mode="drop")
        mixed = jnp.einsum("mr,mri->ri", shares, tables)
        return task.examine(lambda users: mixed[row[users]], world.valid)[1][column]

    def fold(number: int) -> Fold:
        own = [of[number] for of in members]
        world, users = own[0].loaded.world, own[0].loaded.world.valid.users.reshape(-1)
        tables = jnp.stack([one(each, users) for one, each in zip(score, own, strict=True)])
        tables = standardised(tables) if config.task.name == "ranking" else tables
        index = asked_users(world, world.valid)
        user, history, events = (index[name].astype(np.int64) for name in ("user", "history", "events"))

        def gated(shares: Array) -> Array:
            padded = np.zeros((len(pool), len(users)), np.float32)
            padded[:, : len(user)] = shares.T
            return np.asarray(examined(world, tables, padded), np.float64)[: len(user)]

        def values(counts: Counts) -> Array:
            return gated(np.tile(np.array(counts) / sum(counts), (len(user), 1)))

        pair = pool[0].runs[number].result["fingerprint"], config.seed
        readers = Tested(user, history, events.astype(np.float64), {})
        return Fold(pair, readers, values, np.asarray(known(world, users), np.float64)[: len(user)], gated)

    return [fold(number) for number in range(len(pool[0].runs))]


def _asked(world: World) -> jax.Array:
    """The readers of the validation part in the order of its rows; n_users for padding."""
    users = world.valid.users.reshape(-1)
    return jnp.where(jnp.arange(users.shape[0]) < world.valid.n_users, users, world.n_users)


def _scored(first: Predictor) -> Callable[[Predictor, jax.Array], jax.Array]:
    """Scores [users, items] by a run of the program that `first` has, so many users at once as chunks of it have."""
    program = first.program
    compiled = jax.jit(lambda world, done, hp, users: jax.lax.map(program.scores(world, done, hp), users))

    def score(of: Predictor, users: jax.Array) -> jax.Array:
        chunks = of.loaded.world.valid.users
        return compiled(of.loaded.world, of.parameters, of.hp, chunks).reshape(len(users), -1)

    return score


def _predictor(result: Result) -> Predictor:
    assert isinstance(result.predictor, Predictor)
    return result.predictor

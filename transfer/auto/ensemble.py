"""Greedy ensemble selection (Caruana et al. 2004) on the scores of readers whom no candidate has seen, judged by folds.

It begins with some copies of the best candidate, and adds the one, again and again, with which the mean of the standardised
scores is best; it ends where none makes it better. A reader is judged by weights that were chosen on the other folds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transfer.auto.decision import Candidate
from transfer.data.interactions.events import Heldout
from transfer.data.interactions.world import World, asked_users
from transfer.experiment.build import build_task
from transfer.experiment.members import OWN
from transfer.experiment.run import Result, load_run, program_of
from transfer.learning import gate
from transfer.learning.guard import standardised
from transfer.report.comparison.per_user import Array, Tested, column_of, linearised
from transfer.results.predictor import Predictor
from transfer.training.compiler import executables_of

LARGEST = 2**32  # bytes that the scores of all members and readers may take; beyond it there are fewer members
FIRST, ROUNDS = 4, 10  # copies of the best that it begins with, so that another begins with a fifth; most additions
Counts = tuple[int, ...]  # how often each member has been added


class Fold(NamedTuple):
    """A fold's readers: who they are, values(counts) [readers], what a mixture of the members gives each of them, and what
    a gate needs: traits [readers, traits], and gated(shares [readers, members]), the values of shares of their own."""

    pair: tuple[str, int]
    readers: Tested
    values: Callable[[Counts], Array]
    traits: Array
    gated: Callable[[Array], Array]


def pool_of(tried: list[Candidate], most: int) -> list[Candidate]:
    """At most so many of the best candidates, of which mixtures are made, the best first; with them the best that sees a
    source and the best that sees none. Nobody where there are no folds, and for classes."""
    able = [one for one in tried if all(word.partition(".")[0].partition("=")[0] in OWN for word in one.words)]
    folded = (one for one in able if len(one.runs) > 1 and not one.of_examples)
    # of equals the one without a source first: what its source does not change is no transfer
    ranked = sorted(folded, key=lambda one: (-one.score, one.uses_source))
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


def folds_of(members: list[list[Result]], part: Literal["valid", "test"] = "valid") -> list[Fold]:
    """The hidden readers of every fold, with what mixtures of the scores of its members give them. members: a run of each
    member for every fold, folds of one shape, so that they share what is compiled."""
    return [_fold_of([of[number] for of in members], part) for number in range(len(members[0]))]


def _fold_of(members: list[Result], part: Literal["valid", "test"]) -> Fold:
    config, world = members[0].config, _predictor(members[0]).loaded.world
    hidden: Heldout = getattr(world, part)
    tables = jnp.stack([_scored(member, hidden.users) for member in members])
    tables = tables if config.task.name == "rating" else standardised(tables)
    index = asked_users(world, hidden)
    user, history, events = (index[name].astype(np.int64) for name in ("user", "history", "events"))
    there = executables_of(*program_of(config, world))
    known = there.setdefault("traits", jax.jit(lambda world, users: gate.traits(world)(users)))
    if f"mixed {part}" not in there:
        task = build_task(config, world)

        def examined(world: World, tables: jax.Array, shares: jax.Array) -> jax.Array:
            """Values [readers] of shares [members, readers] of the tables [members, readers, items]."""
            hidden: Heldout = getattr(world, part)
            place = jnp.arange(tables.shape[1])
            asked = jnp.where(place < hidden.n_users, hidden.users.reshape(-1), world.n_users)
            row = jnp.zeros(world.n_users, jnp.int32).at[asked].set(place, mode="drop")
            mixed = jnp.einsum("mr,mri->ri", shares, tables)
            predicted = task.predict(lambda users: mixed[row[users]], hidden)
            return task.measure(predicted, hidden, False)[1][column_of(task.select)]

        there[f"mixed {part}"] = jax.jit(examined)

    def gated(shares: Array) -> Array:
        padded = np.zeros((len(members), tables.shape[1]), np.float32)
        padded[:, : len(user)] = shares.T
        return np.asarray(there[f"mixed {part}"](world, tables, padded), np.float64)[: len(user)]

    def values(counts: Counts) -> Array:
        return gated(np.tile(np.array(counts) / sum(counts), (len(user), 1)))

    readers = Tested(user, history, events.astype(np.float64), {})
    traits = np.asarray(known(world, hidden.users.reshape(-1)), np.float64)[: len(user)]
    return Fold((members[0].facts["fingerprint"], config.seed), readers, values, traits, gated)


def _scored(run: Result, chunks: jax.Array) -> jax.Array:
    """Scores [users, items] of users in chunks, which are scored at once."""
    of = _predictor(run)
    program = of.program
    score = executables_of(*program_of(run.config, of.loaded.world)).setdefault(
        "scores of chunks", jax.jit(lambda world, done, hp, users: jax.lax.map(program.scores(world, done, hp), users))
    )
    return score(of.loaded.world, of.parameters, of.hp, chunks).reshape(chunks.size, -1)


def _predictor(result: Result) -> Predictor:
    assert isinstance(result.predictor, Predictor)
    return result.predictor

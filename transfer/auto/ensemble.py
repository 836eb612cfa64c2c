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
from transfer.data.interactions.world import asked_users
from transfer.experiment.build import build_task
from transfer.experiment.members import OWN
from transfer.experiment.run import Result, load_run
from transfer.learning.guard import standardised
from transfer.report.comparison.per_user import Array, Tested, column_of, linearised
from transfer.results.predictor import Predictor

LARGEST = 2**32  # bytes that the scores of all members and readers may take; beyond it there are fewer members
FIRST, ROUNDS = 4, 10  # copies of the best that it begins with, so that another begins with a fifth; most additions
Counts = tuple[int, ...]  # how often each member has been added


class Fold(NamedTuple):
    """A fold's readers: who they are, and values(counts) [readers], what a mixture of the members gives each of them."""

    pair: tuple[str, int]
    readers: Tested
    values: Callable[[Counts], Array]


def ensemble(tried: list[Candidate], most: int) -> Candidate | None:
    """The ensemble of at most so many of the best candidates; None where only one is worth a weight, where there are no
    folds, and for classes. Raises TransferError where runs have not kept their parameters."""
    able = [one for one in tried if all(word.partition(".")[0].partition("=")[0] in OWN for word in one.words)]
    pool = sorted((one for one in able if len(one.runs) > 1 and not one.of_examples), key=lambda one: -one.score)[:most]
    if len(pool) < 2:
        return None
    world = _predictor(load_run(pool[0].runs[0].folder)).loaded.world
    pool = pool[: LARGEST // (4 * int(world.valid.n_users) * world.n_items * len(pool[0].runs))]
    if len(pool) < 2:
        return None
    folds = [fold_of([load_run(run.folder) for run in runs]) for runs in zip(*(one.runs for one in pool), strict=True)]
    how = pool[0].runs[0].result["select"]
    return chosen(pool, folds, how["metric"], how["sign"])


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


def fold_of(results: list[Result]) -> Fold:
    """The validation readers of runs on one world, with what mixtures of their scores give them."""
    config, loaded = results[0].config, _predictor(results[0]).loaded
    world, task = loaded.world, build_task(config, loaded.world)
    index = asked_users(world, world.valid)
    readers = [loaded.users[place] for place in index["user"]]
    tables = jnp.stack([jnp.asarray(_predictor(result).score(readers)) for result in results])
    if config.task.name == "ranking":
        tables = standardised(tables)
    row = jnp.zeros(world.n_users, jnp.int32).at[index["user"]].set(jnp.arange(len(readers)))
    column = column_of(task.select)

    @jax.jit
    def examined(tables: jax.Array, weights: jax.Array) -> jax.Array:
        return task.examine(lambda users: jnp.tensordot(weights, tables[:, row[users]], axes=1), world.valid)[1][column]

    def values(counts: Counts) -> Array:
        weights = np.array(counts, np.float32) / sum(counts)
        return np.asarray(examined(tables, weights), np.float64)[: len(readers)]

    user, history, events = (index[name].astype(np.int64) for name in ("user", "history", "events"))
    pair = results[0].facts["fingerprint"], results[0].config.seed
    return Fold(pair, Tested(user, history, events.astype(np.float64), {}), values)


def _predictor(result: Result) -> Predictor:
    assert isinstance(result.predictor, Predictor)
    return result.predictor

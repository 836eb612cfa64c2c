"""Splits of labelled examples: what of a source is learnt from, and what is known of the target."""

from __future__ import annotations

import numpy as np

from transfer.config.splits import ExampleSplit
from transfer.data.examples.sets.raw import Raw
from transfer.data.examples.world import Rows
from transfer.errors import TransferError

NONE = np.zeros(0, np.int64)


def source_rows(raw: Raw, how: ExampleSplit, rng: np.random.Generator) -> Rows:
    """`split.per_class` examples of each class (null: all), of which the share `split.stop` is held out."""
    pool = np.flatnonzero(~raw.hidden)
    if how.per_class is not None:
        pool = few(raw.strata, rng.permutation(pool), how.per_class)
    stop = share(raw.strata, rng.permutation(pool), how.stop)
    return Rows(np.setdiff1d(pool, stop), stop, NONE, NONE)


def target_rows(raw: Raw, how: ExampleSplit, rng: np.random.Generator) -> Rows:
    """Test rows (the set's own, else a share or, transductive, all), labelled ones, and those whose x alone is known: of
    the rest, and all whose label nobody knows."""
    everything, nameless = rng.permutation(len(raw.y)), NONE
    if raw.unlabelled is not None:
        everything, nameless = everything[~raw.unlabelled[everything]], np.flatnonzero(raw.unlabelled)
    if raw.hidden.any():
        test = np.flatnonzero(raw.hidden)
    else:
        test = NONE if how.transductive else share(raw.strata, everything, how.test)
    pool = everything[~np.isin(everything, test)]
    if how.target_labels == "all":
        if how.transductive and not raw.hidden.any():
            raise TransferError(
                "split.target_labels=all leaves no test example with split.transductive=true; set one of them"
            )
        labelled, stop = pool, share(raw.strata, pool, how.valid)
    else:
        labelled = few(raw.strata, pool, how.target_labels)
        some = how.target_labels and how.valid
        stop = few(raw.strata, labelled, max(1, round(how.valid * how.target_labels))) if some else NONE
    if how.folds is not None:
        stop = fold(raw.strata, labelled, how)
    if not len(test):
        test = np.setdiff1d(pool, labelled)
    seen = np.union1d(np.union1d(pool, test) if how.transductive else pool, nameless)
    return Rows(np.setdiff1d(labelled, stop), np.sort(stop), np.setdiff1d(seen, stop), np.sort(test))


def few(y: np.ndarray, pool: np.ndarray, count: int) -> np.ndarray:
    """The union of the first `count` members of every class in `pool` (all where a class has fewer), in pool's order."""
    chosen = [pool[np.flatnonzero(y[pool, c])[:count]] for c in range(y.shape[1])]
    return pool[np.isin(pool, np.concatenate(chosen))]


def fold(y: np.ndarray, labelled: np.ndarray, how: ExampleSplit) -> np.ndarray:
    """The part of the labelled examples that selects, of each class (by an example's first) as many, to one.

    With split.target_labels=all they are exactly as many, so that folds share their programs: what is left of a class
    then trains in every fold. Folds from `split.folds` on are of another division: they are repeated cross-validation.

    Raises TransferError where none is labelled, or fewer of a class than there are folds.
    """
    if again := (how.fold or 0) // (how.folds or 1):
        labelled = np.random.default_rng([how.seed, again]).permutation(labelled)
    first = y[labelled].argmax(1)
    classes = [labelled[first == c] for c in range(y.shape[1])]
    if not len(labelled) or min(len(of) for of in classes if len(of)) < (how.folds or 0):
        raise TransferError(
            f"split.folds={how.folds} needs that many labelled target examples of each class; write fewer folds or raise "
            "split.target_labels"
        )
    spare = how.folds if how.target_labels == "all" else 1
    return np.concatenate([of[how.of(len(of) - len(of) % (spare or 1))] for of in classes])


def share(y: np.ndarray, pool: np.ndarray, part: float) -> np.ndarray:
    """A share of the pool, the same share of each class (by an example's first class)."""
    first = y[pool].argmax(1)
    chosen = [(of := pool[first == c])[: round(part * len(of))] for c in range(y.shape[1])]
    return np.sort(np.concatenate(chosen))

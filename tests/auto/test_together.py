"""The ensemble of sweep=auto: greedy selection finds what helps, and is judged by readers that did not choose it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from planted import BUDGET, RANKING, RATING, WORLD

from transfer.api import compose
from transfer.auto.decision import Candidate, decide, gain
from transfer.auto.ensemble import Counts, Fold, chosen, folds_of, greedy
from transfer.auto.words import report
from transfer.experiment import run_batch
from transfer.experiment.run import load_run
from transfer.report.comparison import per_user
from transfer.results.run_folder import VALID_PER_USER

FOLDS, READERS = 4, 100
WORLD_OF = {"target": {"name": "books"}, "sources": [{"name": "movies"}]}
Values = Callable[[int, Counts], np.ndarray]


class Of(NamedTuple):
    """What a decision reads of a run."""

    result: dict[str, Any]
    pair: tuple[str, int]
    seconds: float = 1.0

    @property
    def folder(self) -> Path:
        return Path()


def planted(values: Values, sources: list[bool]) -> tuple[list[Candidate], Candidate | None]:
    """Candidates whose readers have values(fold, counts), and their ensemble."""
    ids = np.arange(READERS)
    tested = per_user.Tested(ids, np.zeros(READERS, int), np.ones(READERS), {})
    none: Any = np.zeros((READERS, 4)), lambda shares: np.zeros(READERS)  # what a gate needs
    folds = [Fold((f"fold {k}", 0), tested, lambda counts, k=k: values(k, counts), *none) for k in range(FOLDS)]
    pool = []
    for place, uses in enumerate(sources):
        own = tuple(int(place == other) for other in range(len(sources)))
        rows = {fold.pair: tested._replace(values={"ndcg@10": fold.values(own)}) for fold in folds}
        facts = {
            "select": {"metric": "ndcg@10", "sign": 1, "by": "valid"},
            "uses_source": uses,
            "task": "ranking",
            "world": WORLD_OF,
        }
        runs: Any = [Of(facts, fold.pair) for fold in folds]
        pool.append(Candidate((f"method=m{place}",), runs, VALID_PER_USER, nested=rows))
    return pool, chosen(pool, folds, "ndcg@10", 1)


def apart(seed: int, count: int, alike: bool) -> Values:
    """Members that err by themselves, or all in the same way: a mixture's value falls with the square of its error."""
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(FOLDS, 1 if alike else count, READERS))

    def values(fold: int, counts: Counts) -> np.ndarray:
        share = np.array([sum(counts)] if alike else counts) / sum(counts)
        return 0.5 - 0.05 * np.square(share @ errors[fold])

    return values


def test_members_that_err_apart_are_put_together_and_twins_are_not() -> None:
    pool, together = planted(apart(0, 3, alike=False), [False, True, True])
    assert together is not None
    assert together.words[0] == "method=ensemble"
    assert together.words[1] == 'method.members=["m0","m1","m2"]'
    shares = [float(word.split("=")[1]) for word in together.words[2:]]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert min(shares) > 0.2, "each says as much as the others"
    found = decide(pool, [together])
    assert found.chosen is together
    assert found.gains[together.name].low > 0
    assert planted(apart(0, 3, alike=True), [False, True, True])[1] is None


def test_a_member_that_helps_a_little_is_found() -> None:
    """Half of it is worse than none: who adds whole members to one of the best never sees that some of it is better."""

    def score(counts: Counts) -> float:
        return -abs(counts[1] / sum(counts) - 0.2) - counts[2] / sum(counts)

    assert score((1, 0, 0)) > score((1, 1, 0))
    assert greedy(score, 3) == (4, 1, 0)
    assert greedy(lambda counts: -float(counts[1] + counts[2]), 3) == (1, 0, 0)


def test_an_ensemble_without_a_source_is_no_transfer() -> None:
    pool, together = planted(apart(0, 2, alike=False), [False, False])
    found = decide(pool, [together])
    assert found.chosen is together
    assert not found.chosen.uses_source
    assert found.reference in pool
    assert found.gains == {}
    told = {"tried": 2, "folds": FOLDS, "left_out": {}, "not_reached": [], "whole": True, "seconds": 1.0}
    said = report(found, [], None, **told)
    assert not said["transfer"]
    assert "Do not transfer" in said["text"]
    assert f"{found.chosen.name} is chosen" in said["text"]
    assert f"The {found.chosen.name} is chosen: against m" in said["text"]
    assert "to readers that did not choose its weights." in said["text"]


def test_an_ensemble_that_is_not_surely_better_than_no_transfer_is_left() -> None:
    """Its members are like it and the method without a source is not: the first difference is sure, the second is not."""
    alone, seen = np.random.default_rng(1).normal(0.44, 1.0, (FOLDS, READERS)), apart(0, 2, alike=False)
    alone += 0.44 - alone.mean(axis=1, keepdims=True)

    def values(fold: int, counts: Counts) -> np.ndarray:
        if counts[0]:
            return alone[fold] - (0 if sum(counts) == counts[0] else 1)
        return seen(fold, counts[1:])

    pool, together = planted(values, [False, True, True])
    assert together is not None
    found = decide(pool, [together])
    assert len(found.mixtures) == 1
    assert found.mixtures[0].best is not pool[0]
    assert found.mixtures[0].gain.low > 0
    assert found.gains[together.name].mean > 0 > found.gains[together.name].low
    assert found.chosen is found.reference is pool[0]


def test_what_chance_alone_puts_together_is_not_kept() -> None:
    """Every mixture has the same mean and noise of its own: readers that choose the weights find a gain, others do not."""
    kept, naive, honest = 0, [], []
    for seed in range(100):

        def values(fold: int, counts: Counts, seed: int = seed) -> np.ndarray:
            return np.random.default_rng([seed, fold, *counts]).normal(0.2, 0.1, READERS)

        pool, together = planted(values, [False] * 6)
        if together is None:
            continue
        kept += decide(pool, [together]).chosen is together
        best = max(pool, key=lambda one: one.score)
        naive.append(all_folds(values, greedy(lambda counts: all_folds(values, counts), 6)) - best.score)
        honest.append(gain(together, best).mean)
    assert len(naive) > 25
    assert kept == 0
    assert min(naive) > 0
    assert np.mean(naive) > 0.003
    assert np.mean(honest) < -0.003, "the best of six has been lucky"


def all_folds(values: Values, counts: Counts) -> float:
    return float(np.mean([values(k, counts) for k in range(FOLDS)]))


@pytest.mark.parametrize("task", [RANKING, RATING], ids=["ranking", "rating"])
def test_readers_have_what_the_run_of_the_same_mixture_gives_them(task: tuple[str, ...], tmp_path: Path) -> None:
    members = ("user_knn", "ridge_map hp.ridge=3")
    said = f"method.members=[{','.join(repr(member) for member in members)}]"
    fold = ("split.folds=3", "split.fold=1", "test=false")
    slopes = {"target": 0.1, "source": -3.0, "surprise": 2.0, "nearness": 2.0}
    gates = [f"hp.gate_{name}={slope}" for name, slope in slopes.items()]
    for name, words in {
        "0": ["method=user_knn"],
        "1": ["method=ridge_map", "hp.ridge=3"],
        "both": ["method=ensemble", said, "hp.weight_1=1", "hp.weight_2=3"],
        "gate": ["method=ensemble", said, "hp.weight_1=1", "hp.weight_2=3", "method.gate=true", *gates],
    }.items():
        run_batch([compose([*task, *WORLD, *BUDGET, *fold, *words])], [tmp_path / name])
    (mixed,) = folds_of([[load_run(tmp_path / "0")], [load_run(tmp_path / "1")]])
    column = "ndcg@10" if task is RANKING else "mse"
    tables = {name: pl.read_parquet(tmp_path / name / VALID_PER_USER) for name in ("0", "1", "both", "gate")}
    assert (tables["0"]["user"].to_numpy() == mixed.readers.user).all()
    for counts, name in (((1, 0), "0"), ((0, 1), "1"), ((1, 3), "both")):
        np.testing.assert_allclose(mixed.values(counts), tables[name][column].to_numpy(), atol=2e-3)
    assert np.abs(mixed.values((1, 0)) - mixed.values((0, 1))).max() > 0.05
    share = 1 / (1 + 3 * np.exp(-mixed.traits @ np.array(list(slopes.values()))))
    assert share.std() > 0.1
    own = mixed.gated(np.stack([share, 1 - share], axis=1))
    np.testing.assert_allclose(own, tables["gate"][column].to_numpy(), atol=2e-3)
    assert np.abs(own - mixed.values((1, 3))).max() > 0.01

"""method=ensemble: the weighted sum of its members' scores, each as its own run has them, with words of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted import BUDGET, RANKING, RATING, WORLD

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.experiment.run import load_run

EASE, NEIGHBOURS = "ease method.domains=target hp.ridge=30", "user_knn"


def run(*words: str, task: tuple[str, ...] = RANKING) -> Result:
    return run_batch([compose([*task, *WORLD, *BUDGET, *words])])[0]


def ensemble(*members: str) -> tuple[str, str]:
    return "method=ensemble", f"method.members=[{','.join(repr(member) for member in members)}]"


def scores(result: Result) -> np.ndarray:
    return result.predictor.score(result.predictor.loaded.users).astype(np.float64)


def standardised(table: np.ndarray) -> np.ndarray:
    return (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)


def test_scores_are_the_weighted_sum_of_the_members_own() -> None:
    one, other = run("method=ease", "method.domains=target", "hp.ridge=30"), run("method=user_knn")
    together = run(*ensemble(EASE, NEIGHBOURS), "hp.weight_2=3")
    known = np.ptp(scores(one), axis=1) > 0  # a reader without history has the same score for every book
    assert known.mean() > 0.5
    by_hand = 0.25 * standardised(scores(one)[known]) + 0.75 * standardised(scores(other)[known])
    np.testing.assert_allclose(scores(together)[known], by_hand, atol=1e-3)
    assert together.facts["uses_source"]
    alone = run(*ensemble(EASE, NEIGHBOURS), "hp.weight_2=0")
    np.testing.assert_allclose(scores(alone), scores(one), atol=1e-5)
    assert not run(*ensemble(EASE, "popularity")).facts["uses_source"]


def test_ratings_are_added_as_they_are_and_a_run_is_loaded_again(tmp_path: Path) -> None:
    one, other = run("method=item_bias", task=RATING), run("method=user_knn", task=RATING)
    words = compose([*RATING, *WORLD, *BUDGET, *ensemble("item_bias", "user_knn"), "hp.weight=2"])
    together = run_batch([words], [tmp_path / "run"])[0]
    np.testing.assert_allclose(scores(together), (scores(one) + scores(other)) / 2, atol=1e-5)
    assert np.abs(scores(one) - scores(other)).max() > 0.1
    loaded = load_run(tmp_path / "run")
    np.testing.assert_allclose(scores(loaded), scores(together), atol=1e-6)
    assert len(loaded.predictor.recommend(loaded.predictor.loaded.users[:1], k=3)) == 1


@pytest.mark.parametrize(
    ("members", "line"),
    [
        (
            ("ease", "user_knn hp.ridge=3"),
            'method.members: "user_knn hp.ridge=3": hp.ridge: method=user_knn has no such number',
        ),
        (("ease", "popularity split.seed=1"), "split.seed=1 is no override of a member; write KEY=VALUE of method.KEY, hp"),
        (("ease", "popularity=1"), "method.name=popularity=1"),
        (("ease", "global_mean"), "method=global_mean does not do task=ranking"),
        (("ease",), "method.members"),
    ],
)
def test_a_member_that_cannot_be_is_refused_in_one_line(members: tuple[str, ...], line: str) -> None:
    with pytest.raises(TransferError) as error:
        run(*ensemble(*members))
    assert line in str(error.value)
    assert "\n" not in str(error.value)

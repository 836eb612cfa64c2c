"""Runs in a simulated online test: who wins, what its log says of others, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_overrides

import transfer
from transfer.api import run
from transfer.data.interactions.simulate import simulate
from transfer.errors import TransferError
from transfer.evaluate.online.sequential import half_width
from transfer.experiment.online_test import _preferred
from transfer.results.predictor import Predictor

WORLD = small_overrides(split="cold_start", task="ranking", domain__correlation=0.95, domain__click_rate=0.2)


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """A run, and one whose lists begin with what that would recommend last."""
    good: Any = run([*WORLD, "split.beta=0.5", "method=user_knn"])
    old = good.predictor

    def backwards(world: Any, done: Any, hp: Any) -> Any:
        return lambda users: -old.program.scores(world, done, hp)(users)

    worse = Predictor(old.loaded, old.program._replace(scores=backwards), old.parameters, good.config.hp)
    return {"worse": replace(good, predictor=worse), "user_knn": good}


@pytest.fixture(scope="module")
def report(runs: dict[str, Any]) -> Any:
    return transfer.online_test(runs, days=20, readers=500, k=5, reward="click", explore=0.4, give_up=False)


def test_the_better_run_wins_both_ways(report: Any) -> None:
    arms = {row["arm"]: row for row in report.arms.iter_rows(named=True)}
    assert arms["user_knn"]["truth"] > 1.1 * arms["worse"]["truth"]
    assert all(row["low"] < row["truth"] < row["high"] for row in arms.values())
    assert arms["user_knn"]["low"] > arms["worse"]["high"]
    (draft,) = report.interleaving.iter_rows(named=True)
    assert (draft["arm"], draft["against"]) == ("user_knn", "worse")
    assert 0 < draft["low"] < draft["preference"] < draft["high"]
    assert draft["decided"] < draft["visits"] == 10_000
    assert report.days["regret"].is_sorted()


def test_runs_that_are_alike_are_not_told_apart(runs: dict[str, Any]) -> None:
    alike = transfer.online_test({"a": runs["user_knn"], "b": runs["user_knn"]}, days=20, readers=500, k=5, reward="click")
    assert alike.arms["given_up"].to_list() == [None, None]
    assert alike.interleaving["decided"].to_list() == [None]
    assert alike.days["regret"].to_list() == [0] * 40
    lost = transfer.online_test(runs, days=20, readers=500, k=5, reward="click")
    day = lost.arms["given_up"][0]
    assert lost.arms["given_up"].to_list() == [day, None]
    assert lost.log.filter(arm="worse")["day"].max() == day


def test_its_log_has_the_rates_and_the_chances_of_what_was_shown(runs: dict[str, Any], report: Any) -> None:
    rates = {row["arm"]: row for row in transfer.evaluate_log(report.log).rates.iter_rows(named=True)}
    for row in report.arms.iter_rows(named=True):
        assert 5 * rates[row["arm"]]["ctr"] == pytest.approx(row["value"], rel=1e-4)
    assert rates["user_knn"]["feedback"] > 20
    assert set(report.log["feedback"].drop_nulls()) == {0, 1}, "dislikes are told too"
    planted, loaded = simulate(runs["user_knn"].config.domain)[2], runs["user_knn"].predictor.loaded
    columns = [planted.items.index(item) for item in loaded.items]
    chance = dict(zip(planted.users, planted.click[:, columns].mean(1), strict=True))  # of any item, all alike
    log = report.log.filter(arm="user_knn")
    truth = (np.array([chance[user] for user in log["user"]]) / log["position"].to_numpy()).mean()
    told = log["click"].to_numpy() / log["propensity"].to_numpy() / len(loaded.items)
    error = told.std() / len(log) ** 0.5
    assert abs(told.mean() - truth) < 4 * error
    assert abs(log["click"].mean() - truth) > 8 * error, "without the propensities it is another figure"


def test_what_is_no_online_test_is_refused(runs: dict[str, Any]) -> None:
    both = list(runs.values())
    for bad, said in (
        ({"k": 0}, "k=0: write 1 or more"),
        ({"k": 1000}, r"k=1000: a reader has only \d+ items left"),
        ({"explore": 1.5}, "explore=1.5: a chance is needed"),
        ({"position_bias": -1}, "position_bias=-1: write 0"),
        ({"reward": "clicks"}, "reward=clicks: unknown; did you mean click"),
    ):
        with pytest.raises(TransferError, match=said):
            transfer.online_test(runs, **bad)
    with pytest.raises(TransferError, match="two runs are called user_knn"):
        transfer.online_test([both[1], both[1]])
    with pytest.raises(TransferError, match="1 runs: two or more are tested"):
        transfer.online_test(both[:1])
    config = both[0].config
    other = replace(both[0], config=config.model_copy(update={"split": config.split.model_copy(update={"seed": 1})}))
    with pytest.raises(TransferError, match="other: its world or its split is not that of worse"):
        transfer.online_test({"worse": both[0], "other": other})
    with pytest.raises(TransferError, match="other: nobody was tested"):
        transfer.online_test({"worse": both[0], "other": replace(both[0], per_user=None)})


def test_a_preference_is_decided_at_the_first_visit_that_leaves_out_zero() -> None:
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 3000, p=[0.2, 0.4, 0.4]).astype(np.float32)
    told = _preferred(values, "better", "worse")
    first = next(
        n
        for n in range(2, len(values) + 1)
        if (mine := values[:n]).std() > 0 and abs(mine.mean()) > float(half_width(jnp.float32(n), jnp.float32(mine.std())))
    )
    assert told["decided"] == first
    assert told["low"] < 0.2 < told["high"]
    assert told["preference"] == pytest.approx(values.mean(), abs=1e-4)
    same = _preferred(np.ones(100, np.float32), "better", "worse")
    assert same["decided"] is None, "nothing is known yet of how visits differ"

"""What each method carries: a gain where tastes are shared (correlation 0.9) and none where they are not (0)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from planted import TRAINED, check_whole, figure, outcome, planted, world_of

from transfer.api import compose
from transfer.data.interactions.events import Interactions
from transfer.experiment.checks import check_settings
from transfer.solvers import perceptron
from transfer.solvers.histories import user_counts

RANKING = [
    "user_knn method.neighbours=30",
    "ease",
    "item_knn method.neighbours=60",
    "graph_filter",
    "ials",
    "lightgcn",
    "ridge_map",
    "cmf",
    "dann_factors",
    "darec",
    "finetune",
    "log_linear",
]
RATING = ["source_bias", "user_knn method.neighbours=30", "ridge_map", "cmf", "dann_factors", "darec", "finetune", "emcdr"]
EMCDR = ["emcdr", "emcdr method.map=mlp"]

# Half of all readers are test users, so a difference of two figures has a standard error of about 0.008.
NOISE = 0.02


def gain(correlation: float, task: str, method: str) -> float:
    """By how much the test figure of cold readers beats the best reference that knows no source (positive is better)."""
    if task == "ranking":
        return figure(correlation, task, method) - max(figure(correlation, task, m) for m in ("popularity", "target_only"))
    return min(figure(correlation, task, m) for m in ("item_bias", "target_only")) - figure(correlation, task, method)


@pytest.mark.parametrize(
    ("task", "method"), [*(("ranking", m) for m in [*RANKING, *EMCDR]), *(("rating", m) for m in RATING)]
)
def test_shared_tastes_are_carried_and_unrelated_ones_are_not(task: str, method: str) -> None:
    shared, unrelated = gain(0.9, task, method), gain(0.0, task, method)
    said = f"{shared:+.4f} at 0.9, {unrelated:+.4f} at 0"
    assert shared > NOISE / 2, said
    assert unrelated < NOISE / 2, said
    assert shared - unrelated > NOISE, said


@pytest.mark.parametrize(("task", "method"), [(task, method) for task in TRAINED for method in TRAINED[task]])
def test_a_trained_method_has_all_that_a_run_has(task: str, method: str) -> None:
    for result in outcome(0.9, task, method):
        check_whole(result, task)


def cold(task: str) -> Any:
    """Users without training events in the target: bool [users]."""
    return np.asarray(user_counts(world_of(0.9, task).world.target.train)) == 0


@pytest.mark.parametrize("task", ["ranking", "rating"])
def test_cmf_carries_nothing_when_the_source_has_no_weight(task: str) -> None:
    carried, _, alone = outcome(0.9, task, "cmf")
    new = cold(task)
    assert 300 < new.sum() < len(new)
    untouched = alone.parameters["joint"]["body"]
    assert (untouched["bias"][new] == 0).all()
    assert (untouched["bias"][~new] != 0).all()
    assert (carried.parameters["joint"]["body"]["bias"][new] != 0).all()
    metric, sign = ("ndcg@10", 1) if task == "ranking" else ("rmse", -1)
    assert sign * (carried.metrics["test"][metric] - alone.metrics["test"][metric]) > NOISE / 2


@pytest.mark.parametrize("task", ["ranking", "rating"])
def test_frozen_users_of_finetune_keep_their_bits(task: str) -> None:
    for result in outcome(0.9, task, "finetune"):
        source, target = (result.parameters[stage] for stage in ("source", "target"))
        for a, b in zip(jax.tree.leaves(source["body"]), jax.tree.leaves(target["body"]), strict=True):
            np.testing.assert_array_equal(a, b)
        assert target["head"]["factors"].std() > 0.02, "the head has learnt: it began at 0.01"


def flat(features: Any) -> Any:
    return np.hstack([features["bias"][:, None], features["factors"]]).astype(np.float64)


@pytest.mark.parametrize("task", ["ranking", "rating"])
def test_emcdr_maps_by_ridge_regression_and_only_cold_users(task: str) -> None:
    result, world = outcome(0.9, task, "emcdr")[0], world_of(0.9, task)
    source, target = (flat(result.parameters[stage]["body"]) for stage in ("source", "target"))
    new, movies = cold(task), np.asarray(user_counts(world.world.sources[0].train)) > 0
    both = movies & ~new
    x, y = source - source[both].mean(0), target - target[both].mean(0)
    gram = x[both].T @ x[both] + result.config.hp["ridge"] * np.eye(x.shape[1])
    matrix = np.linalg.solve(gram, x[both].T @ y[both])
    np.testing.assert_allclose(result.parameters["map"]["matrix"], matrix, rtol=1e-3, atol=1e-4)
    check_scores(result, np.where(new[:, None], x @ matrix + target[both].mean(0), target))


def check_scores(result: Any, z: Any) -> None:
    """The predictor's scores are those of the user representation z [users, 1 + dim]."""
    head = result.parameters["target"]["head"]
    expected = head["mean"] + z[:, :1] + head["bias"][None, :] + z[:, 1:] @ head["factors"].T
    predictor = result.predictor
    np.testing.assert_allclose(predictor.score(predictor.loaded.users), expected, rtol=1e-3, atol=1e-3)


def test_emcdr_with_a_perceptron_maps_cold_users_with_it() -> None:
    result = outcome(0.9, "ranking", "emcdr method.map=mlp")[0]
    source, target = (flat(result.parameters[stage]["body"]) for stage in ("source", "target"))
    carried = np.asarray(perceptron.apply(result.parameters["map"], source.astype(np.float32)))
    check_scores(result, np.where(cold("ranking")[:, None], carried, target))
    assert result.facts["selected"]["map"]["step"] > 0


def dense(events: Interactions, values: Any) -> Any:
    table = np.zeros((events.n_users, events.n_items))
    table[np.asarray(events.users), np.asarray(events.items)] = values
    return table


@pytest.mark.parametrize("task", ["ranking", "rating"])
def test_rating_patterns_of_darec_by_hand(task: str) -> None:
    """Who has no books is scored by the code of the movies, everybody else by that of the books."""
    result, world = outcome(0.9, task, "darec")[0], world_of(0.9, task).world
    params, hp = result.parameters, result.config.hp
    coded = {}
    for name, events in (("source", world.sources[0].train), ("target", world.target.train)):
        ratings, items = np.asarray(events.ratings, np.float64), np.asarray(events.items)
        there = dense(events, 1)
        if task == "rating":
            mean = ratings.mean()
            base = mean + np.array([(ratings[items == i] - mean).sum() for i in range(events.n_items)]) / (
                there.sum(0) + hp["damping"]
            )
            x = dense(events, ratings - base[items])
        else:
            base, x = np.log(there.sum(0) + 1), there
        layer = params[name]["encoder"]
        x = x / np.sqrt(np.maximum(there.sum(1), 1))[:, None]
        coded[name] = np.tanh(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
    cold = ~there.any(1)
    assert 300 < cold.sum() < len(cold)
    z = np.where(cold[:, None], coded["source"], coded["target"])
    layers = [*params["patterns"]["extractor"], *params["patterns"]["predictor"]["target"]]
    for layer in layers[:-1]:
        z = np.maximum(z @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    wanted = base + z @ np.asarray(layers[-1]["kernel"]) + np.asarray(layers[-1]["bias"])
    scored = result.predictor.score(result.predictor.loaded.users)
    np.testing.assert_allclose(scored, wanted, rtol=2e-3, atol=2e-3)
    assert np.std(wanted - base, axis=0).mean() > 20 * 2e-3, "users differ"


def test_a_stage_that_draws_changes_no_other() -> None:
    linear, mlp = (outcome(0.9, "ranking", method)[0].parameters for method in EMCDR)
    for stage in ("source", "target"):
        for a, b in zip(jax.tree.leaves(linear[stage]), jax.tree.leaves(mlp[stage]), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("method", "setting", "other"),
    [
        ("ease", "domains", "target"),
        ("finetune", "strategy", "full"),
        ("emcdr", "map", "mlp"),
        ("user_knn", "neighbours", "7"),
    ],
)
def test_the_settings_of_a_method_are_part_of_its_program(method: str, setting: str, other: str) -> None:
    """Programs are kept by this key: two settings under one key would run each other's."""
    one, two = (check_settings(compose(planted(0.9, "ranking", m))) for m in (method, f"{method} method.{setting}={other}"))
    assert one.program_key() != two.program_key()
    assert one.run_id("data") != two.run_id("data")

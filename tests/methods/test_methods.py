"""Every method runs where it claims to and is refused elsewhere; closed forms equal naive NumPy, with two sources."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from planted import PADDED, RANKING, TRAINED, WORLD, check_whole, outcome, plant, planted, replicas, world_of

from transfer.api import compose
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.experiment.build import build_program, build_task, load_world
from transfer.experiment.checks import check_settings
from transfer.methods.feature_based import ridge_map
from transfer.program import Needs
from transfer.registry import find, names
from transfer.solvers import histories
from transfer.solvers.likeness import readers
from transfer.training.compiler import executables_of

Floats = NDArray[np.float64]
METHODS = names("methods")
# Methods that read texts run in tests/test_text.py: the planted items have none. Classification is in test_alignment.py,
# regression in test_regression.py.
CLAIMED = [
    (method, task)
    for method in METHODS
    for task in find("methods", method).NEEDS.tasks
    if task not in ("classification", "regression") and not find("methods", method).NEEDS.texts
]

ELSEWHERE = [*PADDED, ("ptupcdr", "rating")]

# Closed forms, which tests below compute by hand: they run once.
BY_HAND = {"global_mean", "item_bias", "popularity", "ease", "item_knn"}


def needs(method: str) -> Needs:
    return find("methods", method).NEEDS


def matrix(events: Interactions, values: Any = None) -> Floats:
    dense = np.zeros((events.n_users, events.n_items))
    dense[np.asarray(events.users), np.asarray(events.items)] = 1 if values is None else values
    return dense


def scores(method: str, task: str) -> tuple[World, dict[str, float], Floats]:
    """The planted world, the hp that were used, and the scores of all users for all books."""
    result = outcome(0.9, task, method)[0]
    loaded = world_of(0.9, task)
    assert len(loaded.world.sources) == 2
    return loaded.world, result.config.hp, result.predictor.score(loaded.users).astype(np.float64)


def item_means(events: Interactions, damping: float) -> tuple[float, Floats]:
    """μ and damped b_i, item by item."""
    items, ratings = np.asarray(events.items), np.asarray(events.ratings)
    mean = ratings.astype(np.float64).mean()
    return mean, np.array(
        [(ratings[items == i] - mean).sum() / ((items == i).sum() + damping) for i in range(events.n_items)]
    )


def deviations(events: Interactions, damping: float) -> Floats:
    """r - μ - b_i of every event."""
    mean, bias = item_means(events, damping)
    return np.asarray(events.ratings) - mean - bias[np.asarray(events.items)]


def readers_moods(world: World, hp: dict[str, float]) -> tuple[Floats, float]:
    """d_u pooled over the sources, and the slope of the target's deviations on it."""
    total, count = np.zeros(world.n_users), np.zeros(world.n_users)
    for side in world.sources:
        np.add.at(total, np.asarray(side.train.users), deviations(side.train, hp["damping"]))
        np.add.at(count, np.asarray(side.train.users), 1)
    d = total / (count + hp["user_damping"])
    x = d[np.asarray(world.target.train.users)][:, None]
    return d, float(np.linalg.lstsq(x, deviations(world.target.train, hp["damping"]), rcond=None)[0][0])


@pytest.mark.parametrize(
    ("method", "task"), [(m, t) for m, t in CLAIMED if m not in TRAINED[t] and (m, t) not in ELSEWHERE]
)
def test_method_runs_on_every_task_that_it_claims(method: str, task: str) -> None:
    """Those of TRAINED do in test_transfer.py, those of ELSEWHERE in test_capacity.py and test_feature_maps.py."""
    words = [planted(0.9, task, method, "train.epochs=6", *more) for more in replicas(method)]
    for result in outcome(0.9, task, method) if method in BY_HAND else run_batch([compose(each) for each in words]):
        check_whole(result, task)


def refusal(overrides: list[str]) -> str:
    with pytest.raises(TransferError) as caught:
        run_batch([compose(overrides)])
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("method", "task"), [(m, t) for m in METHODS for t in ("rating", "ranking") if t not in needs(m).tasks]
)
def test_method_is_refused_for_another_task(method: str, task: str) -> None:
    line = refusal([f"task={task}", f"method={method}", "domain.users=100"])
    assert f"method={method} does not do task={task}" in line
    fitting = line.partition("methods that do: ")[2].split(", ")
    assert fitting == [m for m in METHODS if task in needs(m).tasks]


@pytest.mark.parametrize("method", [m for m in METHODS if needs(m).source and needs(m).tasks[0] != "classification"])
def test_method_is_refused_without_a_source(method: str) -> None:
    world = [*plant(0.9)[:3], "domain.source=null", "split=ratio"]
    line = refusal([*world, f"task={needs(method).tasks[0]}", f"method={method}"])
    assert f"method={method} needs a source domain" in line
    assert "domain.source=FILE" in line


@pytest.mark.parametrize("method", [m for m in METHODS if needs(m).shared_users])
def test_method_is_refused_without_shared_users(method: str) -> None:
    line = refusal(
        ["domain.users=100", "domain.shared=0", "split=ratio", f"task={needs(method).tasks[0]}", f"method={method}"]
    )
    assert f"method={method} needs users with training events in both domains" in line


def test_global_mean_item_bias_and_popularity_by_hand() -> None:
    world, hp, predicted = scores("item_bias", "rating")
    mean, bias = item_means(world.target.train, hp["damping"])
    np.testing.assert_allclose(predicted, np.broadcast_to(mean + bias, predicted.shape), rtol=1e-5)
    _, _, constant = scores("global_mean", "rating")
    np.testing.assert_allclose(constant, np.full_like(predicted, mean), rtol=1e-5)
    ranking, _, counted = scores("popularity", "ranking")
    np.testing.assert_array_equal(counted, np.broadcast_to(matrix(ranking.target.train).sum(0), counted.shape))


def test_source_bias_slope_is_the_least_squares_one() -> None:
    world, hp, predicted = scores("source_bias", "rating")
    mean, bias = item_means(world.target.train, hp["damping"])
    d, slope = readers_moods(world, hp)
    assert 0.2 < slope < 2
    assert float(outcome(0.9, "rating", "source_bias")[0].parameters["bias"]["slope"]) == pytest.approx(slope, rel=1e-3)
    np.testing.assert_allclose(predicted, mean + bias[None, :] + slope * d[:, None], rtol=1e-4)


def joint(world: World, weight: float) -> Floats:
    return np.hstack([matrix(world.target.train), *(weight * matrix(side.train) for side in world.sources)])


def test_ease_is_a_ridge_regression_of_every_item_on_all_the_others() -> None:
    world, hp, predicted = scores("ease", "ranking")
    x = joint(world, hp["source_weight"])
    gram = x.T @ x + hp["ridge"] * np.eye(x.shape[1])
    for item in range(0, world.n_items, 9):
        others = np.arange(x.shape[1]) != item
        weights = np.linalg.solve(gram[np.ix_(others, others)], x[:, others].T @ x[:, item])
        np.testing.assert_allclose(predicted[:, item], x[:, others] @ weights, rtol=1e-3, atol=1e-5)


def test_item_knn_by_hand() -> None:
    world, hp, predicted = scores("item_knn method.neighbours=60", "ranking")
    x, n = joint(world, 1.0), world.n_items
    norm = np.linalg.norm(x, axis=0)
    weight = np.repeat([1.0, hp["source_weight"]], [n, x.shape[1] - n])
    for item in range(0, n, 9):
        similarity = np.array(
            [0 if j == item else x[:, item] @ x[:, j] / (norm[item] * norm[j] + hp["shrinkage"]) for j in range(x.shape[1])]
        )
        similarity[similarity < np.sort(similarity)[-60] - 1e-7] = 0
        np.testing.assert_allclose(predicted[:, item], (x * weight) @ similarity, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["ease", "item_knn"])
def test_target_alone_ignores_the_source(method: str, tmp_path: Path) -> None:
    def weights(folder: str) -> Any:
        overrides = planted(0.9, "ranking", method, "method.domains=target", f"data_dir={folder}")
        return run_batch([compose(overrides)])[0]

    there = plant(0.9)[1].removeprefix("data_dir=")
    for name in ("books.csv", "series.csv"):
        shutil.copy(Path(there) / name, tmp_path)
    movies = pl.read_csv(Path(there) / "movies.csv").sort("item")
    movies = movies.with_columns(user=movies["user"].sort()).unique(["user", "item"], maintain_order=True)
    movies.write_csv(tmp_path / "movies.csv")
    alone, other, both = weights(there), weights(str(tmp_path)), outcome(0.9, "ranking", method)[0]
    for a, b in zip(jax.tree.leaves(alone.parameters), jax.tree.leaves(other.parameters), strict=True):
        np.testing.assert_array_equal(a, b)
    assert alone.metrics == other.metrics
    assert alone.facts["fingerprint"] != other.facts["fingerprint"]
    assert alone.metrics["test"]["ndcg@10"] < both.metrics["test"]["ndcg@10"] - 0.05, "cold readers have no target history"


def neighbours(world: World, values: list[Any], shrinkage: float, user: int, count: int) -> Floats:
    """The weights of the readers nearest to one user, by the cosine of their source histories."""
    x = np.hstack([matrix(side.train, value) for side, value in zip(world.sources, values, strict=True)])
    norm = np.linalg.norm(x, axis=1)
    trained = matrix(world.target.train).any(1)
    weight = np.array([x[user] @ x[v] / (norm[user] * norm[v] + shrinkage) for v in range(len(x))])
    weight[~trained | (np.arange(len(x)) == user)] = 0
    weight[weight < max(np.sort(weight)[-count] - 1e-7, 1e-9)] = 0
    return weight


@pytest.mark.parametrize("task", ["ranking", "rating"])
def test_ridge_map_solves_over_those_whom_both_domains_know(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' rows are zero: without them the figures are the same, in memory for those few alone."""
    words = ["domain.users=400", "domain.shared=0.2", f"task={task}", "method=ridge_map", "split=ratio", "hp.ridge=3"]
    config = check_settings(compose(words))
    loaded = load_world(config)
    world, width = loaded.world, loaded.world.sources[0].train.n_items
    known = [np.diff(side.train.starts) > 0 for side in (world.target, *world.sources)]
    bridges = np.asarray(world.bridges)
    assert bridges.tolist() == np.flatnonzero(known[0] & known[1]).tolist()
    assert 20 < len(bridges) < world.n_users / 3

    def scores(world: World) -> Floats:
        program = build_program(config, world, build_task(config, world))
        hp = {name: jax.numpy.float32(value) for name, value in config.hp.items()}

        @jax.jit
        def scored(world: World, hp: Any) -> jax.Array:
            done = {"map": program.stages[0].solve(world, {}, hp, jax.random.key(0))}  # type: ignore[union-attr]
            return program.scores(world, done, hp)(jax.numpy.arange(world.n_users))

        return np.asarray(scored(world, hp))

    everybody = scores(replace(world, bridges=None))
    monkeypatch.setattr(histories, "DENSE_CELLS", max(len(bridges) * max(len(bridges), width), width * world.n_items))
    np.testing.assert_allclose(scores(world), everybody, rtol=1e-4, atol=1e-4)
    with pytest.raises(TransferError, match="method=ridge_map needs a"):
        scores(replace(world, bridges=None))
    monkeypatch.setattr(ridge_map, "MAP_CELLS", width * world.n_items - 1)
    for known in (world, replace(world, bridges=None)):
        monkeypatch.setattr(histories, "DENSE_CELLS", len(readers(known)) ** 2)  # no room for films or books
        np.testing.assert_allclose(scores(known), everybody, rtol=1e-4, atol=1e-4)


def test_ridge_map_without_the_matrix_of_films_and_books_tells_new_readers_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [*RANKING, *WORLD, "method=ridge_map", "split=few_shot", "split.keep=2"]

    def told() -> tuple[Floats, dict[str, Any], set[str]]:
        (result,) = run_batch([compose(words)])
        films = result.predictor.loaded.source_items[0]  # type: ignore[union-attr]
        new = [{result.predictor.loaded.summary["sources"][0]["name"]: films[:n]} for n in (0, 1, 7)]  # type: ignore[union-attr]
        return result.predictor.score_new(new), result.metrics["test"], set(result.parameters["map"])

    scores, metrics, kept = told()
    executables_of.cache_clear()  # these know the program by its settings alone
    monkeypatch.setattr(ridge_map, "MAP_CELLS", 0)
    others, same, of_readers = told()
    executables_of.cache_clear()
    assert (kept, of_readers) == ({"base", "weights"}, {"base", "factor"})
    np.testing.assert_allclose(others, scores, rtol=1e-4, atol=1e-5)
    assert np.abs(scores[1:] - scores[:1]).max() > 0.01
    assert same["ndcg@10"] == pytest.approx(metrics["ndcg@10"], abs=1e-3)


def test_user_knn_by_hand() -> None:
    world, hp, predicted = scores("user_knn method.neighbours=30", "ranking")
    x = matrix(world.target.train)
    for user in range(0, world.n_users, 100):
        weight = neighbours(world, [None, None], hp["shrinkage"], user, 30)
        assert 30 <= (weight > 0).sum() < 100
        np.testing.assert_allclose(predicted[user], weight @ x + 1e-6 * x.sum(0), rtol=1e-3, atol=1e-5)


def test_user_knn_of_ratings_by_hand() -> None:
    world, hp, predicted = scores("user_knn method.neighbours=30", "rating")
    d, slope = readers_moods(world, hp)
    mean, bias = item_means(world.target.train, hp["damping"])
    values = [deviations(side.train, hp["damping"]) for side in world.sources]
    own = deviations(world.target.train, hp["damping"]) - slope * d[np.asarray(world.target.train.users)]
    for user in range(0, world.n_users, 100):
        weight = neighbours(world, values, hp["shrinkage"], user, 30)
        said = weight @ matrix(world.target.train, own) / (weight @ matrix(world.target.train) + hp["neighbour_damping"])
        np.testing.assert_allclose(predicted[user], mean + bias + slope * d[user] + said, rtol=1e-3)


@pytest.mark.parametrize("task", ["ranking", "rating"])
def test_ridge_map_solves_the_primal_ridge_regression(task: str) -> None:
    world, hp, predicted = scores("ridge_map", task)
    train = world.target.train
    trained = matrix(train).any(1)
    if task == "ranking":
        x = np.hstack([matrix(side.train) for side in world.sources])
        base = np.broadcast_to(matrix(train).sum(0) / trained.sum(), predicted.shape)
        y = matrix(train) - base
    else:
        x = np.hstack([matrix(side.train, deviations(side.train, hp["damping"])) for side in world.sources])
        d, slope = readers_moods(world, hp)
        mean, bias = item_means(train, hp["damping"])
        base = mean + bias[None, :] + slope * d[:, None]
        y = matrix(train, deviations(train, hp["damping"]) - slope * d[np.asarray(train.users)])
    length = sum(matrix(side.train).sum(1) for side in world.sources)
    x = x / np.sqrt(np.maximum(length, 1))[:, None]
    assert hp["normalise"] == 0.5
    weights = np.linalg.solve(x[trained].T @ x[trained] + hp["ridge"] * np.eye(x.shape[1]), x[trained].T @ y[trained])
    np.testing.assert_allclose(predicted, base + x @ weights, rtol=2e-3, atol=2e-4)
    assert np.abs(x @ weights).max() > 10 * 2e-4


def test_log_linear_adds_up_its_kept_features() -> None:
    """θ · f + b by NumPy; each chance stands beside its logarithm, no multiple of it, all with a deviation of 1."""
    world, _, predicted = scores("log_linear", "ranking")
    done = outcome(0.9, "ranking", "log_linear")[0].parameters
    kept, theta = done["features"], done["weights"]
    tables = {
        part: {name: np.asarray(table, np.float64) for name, table in of.items()} for part, of in kept["tables"].items()
    }
    trained = np.asarray(matrix(world.target.train).any(1))
    for of in tables.values():
        for name in (name for name in of if f"log {name}" in of):
            plain, log = of[name][trained], of[f"log {name}"][trained]
            assert plain.std() == pytest.approx(1, abs=1e-3)
            assert log.std() == pytest.approx(1, abs=1e-3)
            order = np.argsort(plain.ravel())
            assert np.diff(log.ravel()[order]).min() > -1e-4
            assert np.corrcoef(plain.ravel(), log.ravel())[0, 1] < 0.999, name
    assert {len(of) for of in tables.values()} == {6, 4}
    y = matrix(world.target.train)
    popularity = np.log(y.sum(0)[None, :] - y + 1) / float(kept["popularity"])
    new = [popularity, *tables["new"].values()]
    told = {"without": new, "with history": [*new, *tables["old"].values()]}
    by_hand = {name: np.tensordot(np.asarray(theta[name], np.float64), np.stack(of), 1) for name, of in told.items()}
    expected = np.where(trained[:, None], by_hand["with history"], by_hand["without"]) + np.asarray(theta["bias"])
    np.testing.assert_allclose(predicted, expected, rtol=1e-3, atol=1e-3)


def test_unknown_settings_of_a_method_are_refused() -> None:
    line = refusal([*RANKING, "method=ease", "+method.map=mlp"])
    assert line.startswith("method.map: no such key here;")
    assert line.endswith(
        "method=ease has method.guard, method.permute, method.permute_seed, method.fusion, method.rank_by, method.domains, "
        "method.most"
    )
    line = refusal([*RANKING, "method=emcdr", "method.map=cubic"])
    assert line.startswith("method.map: 'cubic'")

"""method.adaptive: the weight of a planted useless source goes to 0 while the method trains, that of a twin does not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from conftest import small_overrides
from planted import LEARN, RANKING, plant, planted, world_of

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings
from transfer.experiment.run import Result, run_batch
from transfer.learning.adaptive import TEMPERATURE, shares, weights_of

QUICK = ("train.epochs=48", "train.evaluate_every=6", "hp.learning_rate=0.02", "hp.l2=0.1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted files, and strangers.csv: the movies, each history under another reader's name."""
    (data,) = (word.removeprefix("data_dir=") for word in plant(0.9) if word.startswith("data_dir="))
    made = tmp_path_factory.mktemp("strangers")
    for name in ("books", "movies", "series"):
        shutil.copy(Path(data) / f"{name}.csv", made)
    movies = pl.read_csv(made / "movies.csv")
    names = movies["user"].unique().sort()
    other = dict(zip(names, names.sample(fraction=1, shuffle=True, seed=0), strict=True))
    movies.with_columns(user=pl.col("user").replace_strict(other)).write_csv(made / "strangers.csv")
    return made


METHODS = {
    "cmf": QUICK,
    "dann_factors": QUICK,
    "history_map": ("train.epochs=24", "train.evaluate_every=6", "hp.learning_rate=0.01", "hp.decay=0.1"),
}
SLOW = [name if name == "history_map" else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]


def run(folder: Path, sources: str, *words: str, method: str = "cmf") -> Result:
    world = ("domain=files", f"data_dir={folder}", "domain.target=books.csv", f"domain.source=[{sources}]")
    return run_batch(
        [compose([*world, "split=cold_start", *LEARN, *RANKING, f"method={method}", *METHODS[method], *words])]
    )[0]


def weights(result: Result) -> np.ndarray:
    (stage,) = result.parameters.values()
    return np.asarray(weights_of(stage["harm"], jnp.float32(TEMPERATURE.default)))


@pytest.mark.parametrize("method", SLOW)
def test_a_useless_source_loses_its_weight_and_a_twin_keeps_it(folder: Path, method: str) -> None:
    helps, useless = weights(run(folder, "movies.csv,strangers.csv", "method.adaptive=true", method=method))
    assert useless < 0.05
    assert helps > 0.9


@pytest.mark.slow
def test_it_is_better_than_all_sources_alike_where_one_is_useless(folder: Path) -> None:
    both, plain = (run(folder, "movies.csv,strangers.csv", *words) for words in (("method.adaptive=true",), ()))
    assert both.metrics["test"]["ndcg@10"] > plain.metrics["test"]["ndcg@10"] + 0.01


@pytest.mark.slow
def test_where_every_source_helps_each_keeps_a_weight(folder: Path) -> None:
    both, plain = run(folder, "movies.csv,series.csv", "method.adaptive=true"), run(folder, "movies.csv,series.csv")
    assert weights(both).min() > 0.1
    assert both.metrics["test"]["ndcg@10"] > plain.metrics["test"]["ndcg@10"] - 0.02


@pytest.mark.parametrize("method", [pytest.param("cmf", marks=pytest.mark.slow), "dann_factors", "history_map"])
def test_a_source_without_weight_moves_its_own_replica_alone(method: str) -> None:
    config = check_settings(compose(planted(0.9, "ranking", f"{method} method.adaptive=true")))
    world: Any = world_of(0.9, "ranking").world
    stage: Any = build_program(config, world, build_task(config, world)).stages[0]
    hp = {name: jnp.float32(value) for name, value in config.hp.items()}

    @jax.jit
    def slopes(world: Any, harm: Any) -> Any:
        params = jax.tree.map(lambda leaf: leaf + 0.1, stage.init(world, {}, jax.random.key(0))) | {"harm": harm}
        batch = stage.batch(world, {}, jax.random.key(1))
        return jax.grad(stage.loss)(params, {}, batch, hp, jax.random.key(2), jnp.float32(0.5))

    def size(part: Any) -> float:
        return sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(part))

    key = "encoder" if method == "history_map" else "sources"
    equal, second = (slopes(world, jnp.array([0.0, harm])) for harm in (0.0, 1.0))
    assert size(equal[key][1]) > 0
    assert size(second[key][1]) == 0, "the second source says nothing to the model"
    for a, b in zip(jax.tree.leaves(equal["replicas"]), jax.tree.leaves(second["replicas"]), strict=True):
        np.testing.assert_array_equal(a, b)
    alone, *beside = equal["replicas"]
    assert not alone[key], "the first replica knows the target alone"
    assert [len(replica[key]) for replica in beside] == [1, 1]
    assert min(size(replica[key]) for replica in beside) > 0
    assert size(alone) > 0
    assert float(jnp.abs(equal["harm"]).max()) == 0, "no gradient moves the harm"


def test_weights_follow_the_harm() -> None:
    harm = jnp.array([-0.1, 0.0, 0.005, 0.1])
    moved = weights_of(harm, jnp.float32(0.005))
    np.testing.assert_allclose(moved, [1, 1, np.exp(-1), 0], atol=1e-6)
    np.testing.assert_allclose(shares(moved), np.array([1, 1, np.exp(-1), 0]) / (2 + np.exp(-1)), atol=1e-6)
    np.testing.assert_allclose(shares(jnp.array([0.3, 0.1])), [0.3, 0.1], rtol=1e-6)


def test_a_temperature_that_moves_nothing_is_refused() -> None:
    with pytest.raises(TransferError, match=r"hp\.temperature has no effect .* write method\.adaptive=true"):
        run_batch([compose([*small_overrides(method="cmf"), "hp.temperature=0.1"])])


def test_a_discriminator_with_steps_of_its_own_is_refused() -> None:
    with pytest.raises(TransferError, match=r"method\.steps .* leave one out"):
        run_batch([compose([*small_overrides(method="dann_factors"), "method.adaptive=true", "method.steps=2"])])

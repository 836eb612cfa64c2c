"""method.adaptive: the weight of a planted useless source goes to 0 while the method trains, that of a twin does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from conftest import small_overrides
from planted import LEARN, RANKING, plant

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment.run import Result, run_batch
from transfer.learning.adaptive import TEMPERATURE, weights_of

QUICK = ("train.epochs=48", "hp.learning_rate=0.02", "hp.l2=0.1")


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


def run(folder: Path, sources: str, *words: str) -> Result:
    world = ("domain=files", f"data_dir={folder}", "domain.target=books.csv", f"domain.source=[{sources}]")
    return run_batch([compose([*world, "split=cold_start", *LEARN, *RANKING, "method=cmf", *QUICK, *words])])[0]


def weights(result: Result) -> np.ndarray:
    return np.asarray(weights_of(result.parameters["joint"]["harm"], jnp.float32(TEMPERATURE.default)))


def test_a_useless_source_loses_its_weight_and_a_twin_keeps_it(folder: Path) -> None:
    helps, useless = weights(run(folder, "movies.csv,strangers.csv", "method.adaptive=true"))
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


def test_weights_follow_the_harm() -> None:
    harm = jnp.array([-0.1, 0.0, 0.005, 0.1])
    np.testing.assert_allclose(
        weights_of(harm, jnp.float32(0.005)), np.array([1, 1, np.exp(-1), 0]) / (2 + np.exp(-1)), atol=1e-6
    )
    np.testing.assert_allclose(weights_of(jnp.array([0.01]), jnp.float32(0.005)), [np.exp(-2)], rtol=1e-5)


def test_a_temperature_that_moves_nothing_is_refused() -> None:
    with pytest.raises(TransferError, match=r"hp\.temperature has no effect .* write method\.adaptive=true"):
        run_batch([compose([*small_overrides(method="cmf"), "hp.temperature=0.1"])])

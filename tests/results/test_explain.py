"""What a run found between films and books: planted pairs come first, new readers are scored as old ones would be."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from planted import NUMBERS, RANKING

from transfer.api import compose, run
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.registry import find, names
from transfer.results.explain import explain, find_films, with_readers

PAIRS, READERS = 8, 90
FOLDS_IN = (
    "ease",
    "item_knn",
    "graph_filter",
    "ials",
    "lightgcn",
    "ridge_map",
    "history_map",
    "kernel_map",
    "residual_map",
)


@cache
def files() -> tuple[str, ...]:
    """Films and books in pairs: who loves film n reads book n with probability 0.9, any other book with 0.1."""
    folder, random = Path(mkdtemp(prefix="pairs-")), np.random.default_rng(0)
    love = random.random((READERS, PAIRS)) < np.linspace(0.5, 0.3, PAIRS)
    read = random.random((READERS, PAIRS)) < np.where(love, 0.9, 0.1)
    for name, table, title in (("movies", love, "The Film"), ("books", read, "Book")):
        users, items = np.nonzero(table)
        events = {"user_id:token": [f"u{u}" for u in users], "item_id:token": [f"{name[0]}{i}" for i in items]}
        pl.DataFrame(events).write_csv(folder / f"{name}.inter", separator="\t")
        titles = {"item_id:token": [f"{name[0]}{i}" for i in range(PAIRS)]}
        titles["title:token_seq"] = [f"{title} {'abcdefgh'[i]}" if i < PAIRS - 1 else None for i in range(PAIRS)]
        pl.DataFrame(titles).write_csv(folder / f"{name}.item", separator="\t")
    domain = ("domain=files", f"domain.target={folder}/books.inter", f"domain.source={folder}/movies.inter")
    few = ("split=cold_start", "split.beta=0.2", "train.epochs=30", "train.evaluate_every=10", "train.progress=false")
    return (*domain, *RANKING, *few)


@cache
def outcome(method: str) -> Result:
    numbers = NUMBERS.get(method, ()) if method not in ("kernel_map", "history_map") else ("hp.learning_rate=0.03",)
    (result,) = run_batch([compose([*files(), f"method={method}", *numbers])])
    return result


def test_the_methods_that_fold_in_say_so() -> None:
    ranking = [name for name in names("methods") if "ranking" in find("methods", name).NEEDS.tasks]
    assert set(FOLDS_IN) < set(ranking)
    for method in (*FOLDS_IN, "popularity", "user_knn"):
        assert outcome(method).predictor.program.folds_in == (method != "user_knn")


@pytest.mark.parametrize("method", [*FOLDS_IN, "user_knn"])
def test_every_film_is_explained_by_its_own_book(method: str) -> None:
    predictor = outcome(method).predictor
    films = find_films(predictor, [f"m{n}" for n in range(PAIRS - 1)])
    lists = explain(predictor, films, 3)
    assert [lines[0].item for lines in lists] == [f"b{n}" for n in range(PAIRS - 1)]
    for lines in lists:
        assert lines[0].score > 1.4 * abs(lines[1].score)
        assert [line.rank for line in lines] == [1, 2, 3]
        assert "b7" not in {line.item for line in lines}, "it has no title"


def test_popularity_finds_nothing_between_films_and_books() -> None:
    predictor = outcome("popularity").predictor
    (lines,) = explain(predictor, find_films(predictor, ["m0"]), 3)
    assert all(line.score == 0 for line in lines)


@pytest.mark.parametrize("method", FOLDS_IN)
def test_new_readers_are_scored_as_old_ones_with_their_films(method: str) -> None:
    result = outcome(method)
    predictor, world = result.predictor, result.predictor.loaded.world
    starts, films = np.asarray(world.sources[0].train.starts), np.asarray(world.sources[0].train.items)
    new = [u for u in range(world.n_users) if world.target.train.starts[u] == world.target.train.starts[u + 1]][:4]
    wider = with_readers(world, [films[starts[u] : starts[u + 1]].tolist() for u in new])
    users = jnp.concatenate([jnp.asarray(new), world.n_users + jnp.arange(len(new)), jnp.asarray([0, 5])])
    scores = jax.jit(lambda world, done: predictor.program.scores(world, done, predictor.hp)(users))
    table = np.asarray(scores(wider, predictor.parameters))
    np.testing.assert_allclose(table[4:8], table[:4], rtol=1e-4, atol=1e-5)
    assert np.abs(table[:4] - table[[1, 2, 3, 0]]).max() > 1e-3
    before = predictor.score([predictor.loaded.users[u] for u in (*new, 0, 5)])
    np.testing.assert_allclose(table[[0, 1, 2, 3, 8, 9]], before, rtol=1e-4, atol=1e-5)


def test_a_film_of_ridge_map_is_its_row_of_weights() -> None:
    result = outcome("ridge_map")
    (film,) = find_films(result.predictor, ["film c"])
    (lines,) = explain(result.predictor, [film], PAIRS - 1)
    assert (film.item, film.title) == ("m2", "The Film c")
    weights = result.parameters["map"]["weights"][film.number]
    items = result.predictor.loaded.items
    for line in lines:
        assert line.score == pytest.approx(weights[items.index(line.item)], abs=1e-6)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recommend", Path(__file__).parents[2] / "scripts" / "recommend.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_explains_by_title(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*files(), "method=ridge_map"], tmp_path / "run")

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["recommend.py", str(tmp_path / "run"), *words])
        script.main()
        return capsys.readouterr().out

    said = call("--explain", "film b, m3", "--k", "1")
    assert "people who loved The Film b" in said
    assert "Book b" in said
    assert "Book d" in said
    assert call("--explain").count("people who loved The Film") == 5
    with pytest.raises(SystemExit, match="'Solaris' is neither the id nor a part of the title"):
        call("--explain", "Solaris")
    with pytest.raises(SystemExit, match="has 1000 readers in training; give a smaller --least"):
        call("--explain", "--least", "1000")


def test_there_must_be_films() -> None:
    words = [word for word in files() if not word.startswith(("domain.source", "split"))]
    (result,) = run_batch([compose([*words, "domain.source=null", "split=ratio", "method=popularity"])])
    with pytest.raises(TransferError, match="no source domain"):
        find_films(result.predictor, None)

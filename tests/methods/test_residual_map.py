"""residual_map against the least squares that it solves, with its controls: without a source, without a target history."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, world_of
from numpy.typing import NDArray
from planted import RANKING, WORLD

from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings
from transfer.learning import source_weights
from transfer.solvers import histories

Floats = NDArray[np.float64]
READERS, FILMS, BOOKS, LEVELS = 40, 30, 9, 3
HP = {"ridge": 2.0, "normalise": 0.25, "ease_ridge": 1.5, "unknown": 3.0, "source_weight": 0.7}
COLD, ALONE, FEW, MANY = 0, 1, 2, 3  # a reader of films only, of books only, of one book, of all but one


@cache
def drawn() -> tuple[Floats, Floats]:
    """Films and books: every book goes with three films, and with the next book."""
    random = np.random.default_rng(0)
    films = (random.random((READERS, FILMS)) < 0.3).astype(float)
    taste = films.reshape(READERS, 10, 3).sum(2)[:, :BOOKS] + 0.5 * films.reshape(READERS, 10, 3).sum(2)[:, 1 : BOOKS + 1]
    books = (taste + 0.5 * random.random(taste.shape) > 1.8).astype(float)
    books[COLD], films[ALONE] = 0, 0
    books[ALONE, :3], books[FEW], books[MANY] = 1, np.eye(BOOKS)[4], 1 - np.eye(BOOKS)[6]
    return films, books


def world(films: Floats, books: Floats) -> World:
    return world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (books, films)))


def config(*words: str) -> Config:
    numbers = [f"hp.{name}={value}" for name, value in HP.items()]
    return check_settings(compose(["task=ranking", "method=residual_map", f"method.levels={LEVELS}", *numbers, *words]))


def scores(world: World, *words: str) -> Floats:
    settings = config(*words)
    program = build_program(settings, world, build_task(settings, world))

    @jax.jit
    def all_of(world: World, hp: Any) -> jax.Array:
        done: dict[str, Any] = {}
        for stage in program.stages:
            done[stage.name] = stage.solve(world, done, hp, jax.random.key(0))  # type: ignore[union-attr]
        return program.scores(world, done, hp)(jnp.arange(world.n_users))

    return np.asarray(all_of(world, {name: jnp.float32(value) for name, value in settings.hp.items()}), np.float64)


def by_least_squares(films: Floats, books: Floats, kept: Any = slice(None)) -> Floats:
    """Every book from the reader's other books and her films at once, over all thinned histories in expectation."""
    trained, books = books.any(1), books[:, kept]
    popular = books[trained].mean(0)
    x = films * HP["source_weight"] / np.maximum(films.sum(1), 1)[:, None] ** HP["normalise"]
    centred = books - popular
    found = np.zeros_like(books)
    for reader, count in enumerate(books.sum(1)):
        told = 2.0 ** np.clip(np.round(np.log2(max(count, 1))), 0, LEVELS - 1)
        rho = told / (told + HP["unknown"])
        for book in range(len(popular)):
            others = np.delete(np.arange(len(popular)), book) if count else np.arange(0)
            inputs = np.hstack([centred[:, others], x])[trained]
            penalty = [(1 / rho - 1) * books[:, others].sum(0) + HP["ease_ridge"], np.full(FILMS, HP["ridge"])]
            gram = inputs.T @ inputs + np.diag(np.concatenate(penalty))
            weights = np.linalg.solve(gram, inputs.T @ centred[trained, book])
            own = np.concatenate([books[reader, others] / rho - popular[others], x[reader]])
            found[reader, book] = popular[book] + own @ weights
    return found


def test_the_map_and_ease_are_one_regression_on_books_and_films() -> None:
    """The closed form in two steps, with a kernel, is the least squares of both kinds of input together."""
    films, books = drawn()
    found, expected = scores(world(films, books)), by_least_squares(films, books)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    lengths = books.sum(1)
    assert set(range(9)) - set(lengths) <= {2, 7}, "every level is met"


def test_without_target_history_it_is_ridge_map_and_without_source_no_film_matters() -> None:
    films, books = drawn()
    here = world(films, books)
    plain = check_settings(compose(["task=ranking", "method=ridge_map", "hp.ridge=2", "hp.normalise=0.25"]))
    program = build_program(plain, here, build_task(plain, here))
    hp: Any = {name: jnp.float32(value) for name, value in plain.hp.items()}
    done = {"map": program.stages[0].solve(here, {}, hp, jax.random.key(0))}  # type: ignore[union-attr]
    alone = np.asarray(program.scores(here, done, hp)(jnp.arange(READERS)))
    mine = scores(here, "hp.source_weight=1")
    np.testing.assert_allclose(mine[COLD], alone[COLD], rtol=1e-4, atol=1e-5)
    assert np.abs(mine[MANY] - alone[MANY]).max() > 0.05

    without = [scores(world(x, books), "hp.source_weight=0") for x in (films, films[::-1].copy())]
    np.testing.assert_allclose(*without, rtol=1e-5, atol=1e-6)
    trained = books.any(1)
    np.testing.assert_allclose(without[0][COLD], books[trained].mean(0), rtol=1e-5)


def test_of_most_chosen_items_the_others_have_their_popularity() -> None:
    films, books = drawn()
    few = scores(world(films, books), "method.most=5")
    trained = books.any(1)
    popular = books[trained].mean(0)
    rest = np.argsort(-popular, kind="stable")[5:]
    np.testing.assert_allclose(few[:, rest], np.broadcast_to(popular[rest], (READERS, 4)), rtol=1e-5)
    best = np.sort(np.argsort(-popular, kind="stable")[:5])
    np.testing.assert_allclose(few[:, best], by_least_squares(films, books, best), rtol=1e-3, atol=1e-4)


def test_readers_of_one_domain_take_no_room_in_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """The regression is over those whom both domains know; the others' books still count in EASE."""
    films, books = drawn()
    here = world(films, books)
    known = np.flatnonzero(films.any(1) & books.any(1)).astype(np.int32)
    fewer = replace(here, bridges=jnp.asarray(known))
    np.testing.assert_allclose(scores(fewer), scores(here), rtol=1e-3, atol=1e-4)
    monkeypatch.setattr(histories, "DENSE_CELLS", len(known) ** 2)
    scores(fewer)
    with pytest.raises(TransferError, match=r"method=residual_map needs a 40 x 40 matrix"):
        scores(here)


def test_learnt_weights_are_those_with_which_it_solves_and_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each were written beside hp.source_weight; a weight of 0 leaves the source's films unread."""
    films, books = drawn()
    here = world(films, books)
    plain, half = scores(here), scores(here, "hp.source_weight=0.35")
    assert np.abs(plain - half).max() > 1e-3
    monkeypatch.setattr(source_weights, "learn", lambda *_: {"weights": jnp.array([0.5])})
    np.testing.assert_allclose(scores(here, "method.sources=learnt"), half, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(source_weights, "learn", lambda *_: {"weights": jnp.array([0.0])})
    none = scores(here, "hp.source_weight=0")
    np.testing.assert_allclose(scores(here, "method.sources=learnt"), none, rtol=1e-5, atol=1e-6)


def test_a_run_says_what_its_sources_are_worth() -> None:
    words = (*RANKING, *WORLD, "method=residual_map", "method.sources=learnt", "train.progress=false")
    (result,) = run_batch([compose(words)])
    weights = result.parameters["sources"]["weights"]
    assert result.facts["source_weights"] == {"movies": pytest.approx(float(weights[0]), abs=1e-5)}
    assert set(result.facts["source_without"]) == {"movies"}
    assert "source_weights" not in run_batch([compose([*words[:-2], words[-1]])])[0].facts


def test_no_more_sources_are_taken_than_there_are() -> None:
    films, books = drawn()
    np.testing.assert_allclose(scores(world(films, books), "method.sources=best_1"), scores(world(films, books)), rtol=1e-5)
    with pytest.raises(TransferError, match=r"^method\.sources=best_2: the world has 1 sources; name no more, or learnt$"):
        scores(world(films, books), "method.sources=best_2")


def test_vectors_are_kept_as_they_were_learnt_and_weigh_only_where_there_are_some() -> None:
    """Readers who come after training turn no direction: of others the scores are as they were."""
    films, books = drawn()
    settings, half = config("method.rank=3"), READERS // 2
    here = replace(world(films, books), bridges=jnp.arange(half))
    later = films.copy()
    later[half:] = np.random.default_rng(1).random((half, FILMS)) < 0.5
    program = build_program(settings, here, build_task(settings, here))
    hp: Any = {name: jnp.float32(value) for name, value in settings.hp.items()}
    done = {"map": jax.jit(program.stages[0].solve)(here, {}, hp, jax.random.key(0))}  # type: ignore[union-attr]

    @jax.jit
    def of_one(world: World, vectors: jax.Array) -> jax.Array:
        return program.scores(world, {"map": {**done["map"], "vectors": vectors}}, hp)(jnp.array([MANY]))

    after, vectors = replace(world(later, books), bridges=jnp.arange(half)), done["map"]["vectors"]
    np.testing.assert_allclose(of_one(here, vectors), of_one(after, vectors), rtol=1e-4, atol=1e-5)
    assert np.abs(of_one(here, 0 * vectors) - of_one(here, vectors)).max() > 0.01, "they tell"
    with pytest.raises(TransferError, match=r"^hp\.leading has no effect without singular vectors; write method\.rank=64"):
        scores(here, "hp.leading=1")

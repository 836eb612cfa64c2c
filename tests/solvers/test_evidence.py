"""Evidence of closed forms against plain refits without the reader, and that no event is seen in its own score."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, world_of
from numpy.typing import NDArray

from transfer.data.interactions.world import World
from transfer.solvers import evidence

Floats = NDArray[np.float64]
READERS, FILMS, BOOKS = 14, 11, 7
HP = {"shrinkage": 1.0, "normalise": 0.25, "ridge": 3.0, "kernel_ridge": 0.5, "ease_ridge": 2.0}
HP |= {"bandwidth": 1.5, "power": 0.25, "item_shrinkage": 3.0}
NUMBERS = {name: jnp.asarray(value) for name, value in HP.items()}
Events = list[set[int]]


@cache
def drawn() -> tuple[Events, Events]:
    """Films and books of readers: one without films, two without books, every book with at least two readers."""
    random = np.random.default_rng(0)
    films = [set(np.flatnonzero(random.random(FILMS) < 0.5).tolist()) for _ in range(READERS)]
    books = [set(np.flatnonzero(random.random(BOOKS) < 0.4).tolist()) for _ in range(READERS)]
    films[0], books[1], books[2] = set(), set(), set()
    books[3] |= {0, 1, 2, 3}
    books[4] |= set(range(BOOKS))
    return films, books


def world(books: Events) -> World:
    return world_of(interactions(books, BOOKS), interactions(drawn()[0], FILMS))


def matrix(mine: Events, width: int) -> Floats:
    return np.array([[float(item in own) for item in range(width)] for own in mine])


@jax.jit
def _scores(world: World) -> dict[str, jax.Array]:
    found = evidence.from_source(world, NUMBERS) | evidence.from_target(world, NUMBERS)
    return found | {"popularity": evidence.popularity(world, jnp.arange(READERS))}


def scores(books: Events) -> dict[str, Floats]:
    return {name: np.asarray(table, np.float64) for name, table in _scores(world(books)).items()}


def kernels() -> dict[str, tuple[Floats, float]]:
    x = matrix(drawn()[0], FILMS)
    length = np.maximum(x.sum(1), 1)
    both = np.outer(length, length)
    gaussian = (both / length.mean() ** 2) ** HP["power"] * np.exp(HP["bandwidth"] * (x @ x.T / np.sqrt(both) - 1))
    return {"ridge": (x @ x.T / both ** HP["normalise"], HP["ridge"]), "kernel": (gaussian, HP["kernel_ridge"])}


@pytest.mark.parametrize("name", ["ridge", "kernel"])
def test_a_ridge_regression_is_that_of_the_other_readers(name: str) -> None:
    y, (kernel, ridge) = matrix(drawn()[1], BOOKS), kernels()[name]
    found = scores(drawn()[1])[name]
    for reader in range(READERS):
        others = [v for v in range(READERS) if v != reader and drawn()[1][v]]
        shares = y[others].mean(0)
        dual = np.linalg.solve(kernel[np.ix_(others, others)] + ridge * np.eye(len(others)), y[others] - shares)
        np.testing.assert_allclose(found[reader], shares + kernel[reader, others] @ dual, rtol=1e-3, atol=1e-5)


def test_neighbours_are_the_other_readers_by_their_likeness() -> None:
    x, y = matrix(drawn()[0], FILMS), matrix(drawn()[1], BOOKS)
    found, norm = scores(drawn()[1])["neighbours"], np.sqrt(np.maximum(x.sum(1), 1))
    for reader in range(READERS):
        others = [v for v in range(READERS) if v != reader and drawn()[1][v]]
        weight = np.array([x[reader] @ x[v] / (norm[reader] * norm[v] + HP["shrinkage"]) for v in others])
        np.testing.assert_allclose(found[reader], weight @ y[others] / max(weight.sum(), 1e-9), rtol=1e-4, atol=1e-6)


def test_ease_is_that_of_the_other_readers() -> None:
    y = matrix(drawn()[1], BOOKS)
    found = scores(drawn()[1])["ease"]
    for reader in range(READERS):
        others = np.arange(READERS) != reader
        for book in range(BOOKS):
            rest = np.arange(BOOKS) != book
            x = y[others][:, rest]
            weight = np.linalg.solve(x.T @ x + HP["ease_ridge"] * np.eye(BOOKS - 1), x.T @ y[others, book])
            np.testing.assert_allclose(found[reader, book], y[reader, rest] @ weight, rtol=1e-3, atol=1e-5)


def test_item_neighbours_are_counted_among_the_other_readers() -> None:
    y = matrix(drawn()[1], BOOKS)
    found = scores(drawn()[1])["items"]
    for reader in range(READERS):
        others = y[np.arange(READERS) != reader]
        for book in range(BOOKS):
            mine = [j for j in range(BOOKS) if y[reader, j] and j != book]
            said = sum(others[:, j] @ others[:, book] / (others[:, j].sum() + HP["item_shrinkage"]) for j in mine)
            np.testing.assert_allclose(found[reader, book], said / max(len(mine), 1) ** 0.5, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("reader", "book"), [(3, 0), (4, 6), (5, 2), (8, 5)])
def test_no_event_is_in_its_own_score(reader: int, book: int) -> None:
    """Whether the reader has the book changes what the others are told, and not what she is told of it."""
    books = drawn()[1]
    other = [own ^ {book} if number == reader else own for number, own in enumerate(books)]
    assert other[reader]
    one, two = scores(books), scores(other)
    for name in one:
        assert one[name][reader, book] == pytest.approx(two[name][reader, book], abs=2e-5), name
        changed = np.abs(one[name] - two[name]).max()
        assert changed > 0.01, f"{name}: others look at her books"


def test_texts_are_those_of_the_readers_films() -> None:
    random = np.random.default_rng(1)
    films, books = (random.normal(size=(width, 3)).astype(np.float32) for width in (FILMS, BOOKS))
    assert evidence.from_texts(world(drawn()[1])) == {}
    told = world(drawn()[1])
    told = replace(
        told,
        target=replace(told.target, features={"text": jnp.asarray(books)}),
        sources=(replace(told.sources[0], features={"text": jnp.asarray(films)}),),
    )
    found = np.asarray(evidence.from_texts(told)["text"])
    for reader, own in enumerate(drawn()[0]):
        expected = np.mean([films[j] @ books.T for j in own], axis=0) if own else np.zeros(BOOKS)
        np.testing.assert_allclose(found[reader], expected, rtol=1e-4, atol=1e-5)

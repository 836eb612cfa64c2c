"""The likeness of source histories: against numpy, and what weights of items and counts find where they are planted."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, world_of
from numpy.typing import NDArray

from transfer.api import compose
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings
from transfer.solvers import histories, products
from transfer.solvers.likeness import among, by_source, directions, likeness

Floats = NDArray[np.float64]
READERS, BOOKS = 300, 8
COLD = np.arange(0, READERS, 5)  # who have told of no book


def world(books: Floats, *sources: Floats) -> World:
    return world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (books, *sources)))


def numbers(**given: float) -> dict[str, jax.Array]:
    return {name: jnp.float32(value) for name, value in given.items()}


def test_it_is_the_equation() -> None:
    random = np.random.default_rng(0)
    books, films, songs = ((random.random((20, n)) < 0.4).astype(float) for n in (5, 9, 7))
    hp = numbers(source_weight=0.5, source_weight_2=3, normalise=0.3, inverse_frequency=1.5, counts=0.2)
    users, to = jnp.array([3, 0, 20, 7]), jnp.array([1, 3, 20])  # 20: nobody
    n, expected, every = films.sum(1) + songs.sum(1), np.zeros((20, 20)), []
    for x, weight in ((films, 0.5), (songs, 1.5)):
        g = np.log(20 / x.sum(0)) ** 1.5
        g /= np.sqrt(np.mean(np.square(np.broadcast_to(g, x.shape)[x > 0])))
        c = np.log1p(x.sum(1))
        c -= c.mean()
        every.append((x * g) @ (x * g).T / np.outer(n, n) ** 0.3 + 0.2 * np.outer(c, c))
        expected += weight**2 * every[-1]
    here, there = np.ix_([3, 0, 7], [1, 3]), np.ix_([0, 1, 3], [0, 1])
    found = np.asarray(jax.jit(lambda world, hp: likeness(world, hp, to)(users))(world(books, films, songs), hp))
    np.testing.assert_allclose(found[there], expected[here], rtol=1e-5, atol=1e-6)
    assert not np.concatenate([found[2], found[:, 2]]).any(), "of nobody"
    apart = np.asarray(jax.jit(by_source)(world(books, films, songs), hp, users))
    chosen, known = np.ix_([3, 0, 7], [3, 0, 7]), np.ix_([0, 1, 3], [0, 1, 3])
    np.testing.assert_allclose(apart[(slice(None), *known)], [one[chosen] for one in every], rtol=1e-5, atol=1e-6)
    whole = np.asarray(jax.jit(among)(world(books, films, songs), hp, users))
    np.testing.assert_allclose(whole[known], expected[chosen], rtol=1e-5, atol=1e-6)


def test_leading_vectors_are_those_of_numpy_and_weigh_beside_the_items() -> None:
    random = np.random.default_rng(0)
    books, films, songs = ((random.random((40, n)) < 0.4).astype(float) for n in (5, 9, 7))
    films[:20, :4], songs[:20, :3] = 1, 0
    hp = numbers(source_weight=0.5, source_weight_2=3, normalise=0.3, leading=2)
    rows = np.hstack([0.5 * films, 1.5 * songs]) / np.maximum(films.sum(1) + songs.sum(1), 1)[:, None] ** 0.3
    v = np.linalg.svd(rows)[2][:2].T
    here, everybody = world(books, films, songs), jnp.arange(40)
    found = np.asarray(jax.jit(directions, static_argnums=2)(here, hp, 2, jax.random.key(0)))
    np.testing.assert_allclose(found @ found.T, v @ v.T, atol=1e-3)
    for vectors, beside in ((None, 0.0), (jnp.asarray(v), 2.0)):
        alike = np.asarray(jax.jit(among)(here, hp, everybody, vectors))
        np.testing.assert_allclose(alike, rows @ (np.eye(16) + beside * v @ v.T) @ rows.T, rtol=1e-4, atol=1e-5)
    nobody = np.asarray(
        jax.jit(directions, static_argnums=2)(here, numbers(source_weight=0, normalise=0.3), 2, jax.random.key(0))
    )
    assert not nobody.any(), "of sources that weigh nothing"


def test_switched_off_every_event_is_a_one() -> None:
    """Bit for bit: of numbers that are 0 nothing is left."""
    books, films = (np.random.default_rng(0).random((2, 30, 12)) < 0.3).astype(float)
    here, everybody = world(books, films), jnp.arange(30)
    plain = numbers(source_weight=0.7, normalise=0.25)
    off = {**plain, **numbers(inverse_frequency=0, counts=0)}
    for of in (among, lambda world, hp, to: likeness(world, hp, to)(to)):
        assert np.array_equal(*(jax.jit(of)(here, hp, everybody) for hp in (plain, off)))
    assert np.array_equal(histories.item_weights(here.sources[0].train, 0.0), np.ones(int(films.sum())))


def test_domains_are_joined_side_by_side() -> None:
    one, two = (np.random.default_rng(0).random((2, 6, 4)) < 0.5).astype(float)
    sides = world(one, one, two).sources
    every, everybody = histories.joined([side.train for side in sides]), jnp.arange(6)
    separate = np.hstack([histories.dense(side.train, side.train.ratings) for side in sides])
    assert np.array_equal(histories.dense(every, every.ratings), separate)
    assert np.array_equal(histories.rows(every, every.ratings, everybody), separate)
    assert np.array_equal(every.item_counts, np.hstack([one, two]).sum(0))


@pytest.mark.parametrize("often", [1, 3, 50])
def test_items_that_few_and_that_many_have_are_in_the_products(often: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is dense: one item of eleven, some or all; rows in blocks of 7 events."""
    random = np.random.default_rng(0)
    films = (random.random((25, 11)) < np.linspace(0.05, 0.9, 11)).astype(float)
    events = world(films, films).target.train
    values = jnp.asarray(random.random(events.users.shape[0]), jnp.float32)
    monkeypatch.setattr(products, "OFTEN", often)
    monkeypatch.setattr(products, "VISITED", 7)
    users = np.array([4, 25, 0, *range(9, 20), 25])
    x = np.vstack([np.asarray(histories.dense(events, values)), np.zeros(11)])[users]
    asked = np.array([25, 3, 3, 4, *range(24, 12, -1)])  # one of them twice
    y = np.vstack([np.asarray(histories.dense(events, values)), np.zeros(11)])[asked]

    @jax.jit
    def of(events: Interactions, values: jax.Array) -> list[jax.Array]:
        to = jnp.asarray(users)
        both = products.products(events, values, to, [4, 7])
        return [both(to), both(jnp.asarray(asked)), products.products(events, values, to)(to)]

    squares, others, whole = of(events, values)
    np.testing.assert_allclose(squares, [x[:, :4] @ x[:, :4].T, x[:, 4:] @ x[:, 4:].T], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(others, [y[:, :4] @ x[:, :4].T, y[:, 4:] @ x[:, 4:].T], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole, [x @ x.T], rtol=1e-5, atol=1e-6)


def taste(noise: bool) -> tuple[Floats, Floats]:
    """Books by one of four tastes, a few rare films of the same, and, as noise, films that half of all have seen."""
    random = np.random.default_rng(1)
    of = random.integers(4, size=READERS)
    books = np.repeat(np.eye(4)[of], 2, axis=1) * (random.random((READERS, BOOKS)) < 0.8)
    rare = np.repeat(np.eye(4)[of], 6, axis=1) * (random.random((READERS, 24)) < 0.4)
    often = random.random((READERS, 60)) < (0.5 if noise else 0)
    return books, np.hstack([rare, often])


def hit(books: Floats, source: list[Floats], method: str, silent: Any = COLD, **hp: float) -> float:
    """Of the first two books for cold readers, the share that is of their taste; who is silent has told of no book."""
    told = books.copy()
    told[silent] = 0
    words = [f"hp.{name}={value}" for name, value in hp.items()]
    config = check_settings(compose(["task=ranking", *f"method={method}".split(), *words]))
    here = world(told, *source)
    program = build_program(config, here, build_task(config, here))

    @jax.jit
    def scored(world: World, hp: Any) -> jax.Array:
        done: dict[str, Any] = {}
        for stage in program.stages:
            done[stage.name] = stage.solve(world, done, hp, jax.random.key(0))  # type: ignore[union-attr]
        return program.scores(world, done, hp)(jnp.asarray(COLD))

    found = np.asarray(scored(here, {name: jnp.float32(value) for name, value in config.hp.items()}))
    first = np.argsort(-found, axis=1)[:, :2]
    likes = books[COLD]
    return float(np.mean([likes[i, chosen].sum() / max(likes[i].sum(), 1) for i, chosen in enumerate(first)]))


@pytest.mark.parametrize("method", ["user_knn", "ridge_map", "residual_map"])
def test_rare_items_speak_through_the_noise_of_popular_ones(method: str) -> None:
    ridge = {"user_knn": {}, "ridge_map": {"ridge": 20}, "residual_map": {"ridge": 3}}[method]
    books, films = taste(noise=True)
    plain, weighted = (hit(books, [films], method, inverse_frequency=power, **ridge) for power in (0, 2))
    assert weighted > plain + 0.05
    books, films = taste(noise=False)
    plain, weighted = (hit(books, [films], method, inverse_frequency=power, **ridge) for power in (0, 2))
    assert abs(weighted - plain) < 0.04, "without noise there is nothing to mend"


@pytest.mark.parametrize("planted", [True, False])
def test_counts_find_books_that_go_with_how_much_is_watched_where(planted: bool) -> None:
    """No two readers share a film; books go with the source of which a reader has more, or with nothing."""
    random = np.random.default_rng(2)
    side = random.integers(2, size=READERS)
    sources = []
    for own in (0, 1):
        lengths = np.where(side == own, 6, 2)
        films = np.zeros((READERS, 6 * READERS))
        for reader, length in enumerate(lengths):
            films[reader, 6 * reader : 6 * reader + length] = 1
        sources.append(films)
    of = side if planted else random.integers(2, size=READERS)
    books = np.repeat(np.eye(2)[of], 4, axis=1) * (random.random((READERS, BOOKS)) < 0.5)
    without, with_them = (hit(books, sources, "residual_map", counts=weight) for weight in (0, 1))
    if planted:
        assert with_them > without + 0.15
    else:
        assert with_them < without + 0.08


@pytest.mark.parametrize("planted", [True, False])
def test_leading_vectors_find_a_taste_whose_readers_have_no_film_in_common(planted: bool) -> None:
    """Five films of a hundred of her taste, and twelve readers who tell of books: what the others watch joins films."""
    random = np.random.default_rng(3)
    of = np.arange(READERS) % 4
    films = np.zeros((READERS, 400))
    for reader in range(READERS):
        films[reader, 100 * of[reader] + random.choice(100, 5) if planted else random.choice(400, 5)] = 1
    books, silent = np.repeat(np.eye(4)[of], 2, axis=1), np.r_[COLD, 16:READERS]
    without, with_them = (hit(books, [films], f"residual_map method.rank={rank}", silent, ridge=1) for rank in (0, 4))
    assert with_them - without > 0.1 if planted else abs(with_them - without) < 0.1, (without, with_them)

"""graph_filter and ials against NumPy, and what a source's weight of 0 leaves of them."""

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

from transfer.api import compose
from transfer.data.interactions.world import World
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings

Floats = NDArray[np.float64]
READERS, FILMS, SERIES, BOOKS = 40, 20, 6, 12
COLD, ALONE, NOBODY = 0, 1, 2  # a reader of films and series only, of books only, of nothing
WEIGHTS = {"source_weight": 0.5, "source_weight_2": 1.6}  # of films 0.5, of series 0.8


@cache
def drawn() -> tuple[Floats, ...]:
    """Books, films and series; books 0 and 1 are also the films 3 and 4 where items are shared."""
    random = np.random.default_rng(0)
    books, films, series = ((random.random((READERS, n)) < 0.3).astype(float) for n in (BOOKS, FILMS, SERIES))
    books[COLD], films[ALONE], series[ALONE] = 0, 0, 0
    for x in (books, films, series):
        x[NOBODY] = 0
    series[5:9] = 0
    return books, films, series


def world() -> World:
    here = world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in drawn()))
    same = jnp.full(FILMS, -1).at[jnp.array([3, 4])].set(jnp.array([0, 1]))
    return replace(here, sources=(replace(here.sources[0], target_items=same), here.sources[1]))


def columns() -> tuple[Floats, Floats]:
    """The joint matrix with every event's weight, and each domain's share of every column: [domains, columns]."""
    books, films, series = drawn()
    x = np.hstack([books, 0.5 * films, 0.8 * series])
    x[:, :2] += 0.5 * films[:, 3:5]
    x[:, BOOKS + 3 : BOOKS + 5] = 0
    return x, np.repeat(np.eye(3), [BOOKS, FILMS, SERIES], axis=1)


@cache
def program(method: str) -> Any:
    """world, hp -> the parameters of a closed form (with its settings, space separated), and everybody's scores."""
    config = check_settings(compose(["task=ranking", *f"method={method}".split()]))
    built = build_program(config, world(), build_task(config, world()))

    @jax.jit
    def run(here: World, hp: Any) -> Any:
        done = {stage.name: stage.solve(here, {}, hp, jax.random.key(0)) for stage in built.stages}  # type: ignore[union-attr]
        return done, built.scores(here, done, hp)(jnp.arange(READERS))

    return lambda here, **hp: jax.device_get(run(here, {k: jnp.float32(v) for k, v in {**config.hp, **hp}.items()}))


@pytest.mark.parametrize("low_pass", [0, 0.4, 1])
def test_graph_filter_is_made_of_the_singular_vectors(low_pass: float) -> None:
    x, _ = columns()
    with np.errstate(divide="ignore"):
        of_users, of_items = (np.where(x.sum(axis) > 0, x.sum(axis), np.inf) for axis in (1, 0))
    r = x / np.sqrt(of_users)[:, None] / np.sqrt(of_items)[None, :]
    v = np.linalg.svd(r)[2][:28].T
    root = np.where(np.isinf(of_items), 0, np.sqrt(of_items))
    linear, ideal = x @ r.T @ r, (x / np.sqrt(of_items)[None, :]) @ v @ v.T * root[None, :]
    expected = ((1 - low_pass) * linear + low_pass * ideal)[:, :BOOKS]
    _, scores = program("graph_filter method.rank=28")(world(), low_pass=low_pass, **WEIGHTS)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(linear - ideal)[:, :BOOKS].max() > 0.1


DIM, SWEEPS, A, RIDGE, NU = 3, 2, 0.2, 0.05, 0.7


def least_squares(x: Floats, among: Floats, homes: Floats, fixed: Floats) -> Floats:
    """Each row's factors by a solve of its own: x [rows, others] has event weights, a row counts `among` [rows, domains]
    the `homes` [domains, others] of the others."""
    found = []
    for events, strengths in zip(x, among, strict=True):
        pairs = strengths @ homes
        prior = RIDGE * (events.sum() + A * pairs.sum()) ** NU
        gram = fixed.T @ np.diag(events + A * pairs) @ fixed + prior * np.eye(DIM)
        found.append(np.linalg.lstsq(gram, fixed.T @ events, rcond=None)[0])
    return np.array(found)


def test_ials_alternates_exact_least_squares() -> None:
    """Event weights and unobserved pairs as the loss has them; a source's own items do not see its weight."""
    settings = f"model.dim={DIM} method.sweeps={SWEEPS} method.steps={2 * DIM}"
    done, scores = program(f"ials {settings}")(world(), unobserved=A, ridge=RIDGE, frequency=NU, **WEIGHTS)
    x, homes = columns()
    known = np.array([part.any(1) for part in drawn()], float)  # [domains, readers]
    strengths = np.array([1, 0.5, 0.8])
    of_items = x / (strengths @ np.where(homes > 0, homes, 0))[None, :]
    q = np.asarray(jax.random.normal(jax.random.key(0), (x.shape[1], DIM)), np.float64) * 0.1 * DIM**-0.5
    for _ in range(SWEEPS):
        p = least_squares(x, known.T * strengths, homes, q)
        q = least_squares(of_items.T, homes.T, known, p)
    np.testing.assert_allclose(done["factors"]["items"], q, rtol=2e-3, atol=2e-4)
    p = least_squares(x, known.T * strengths, homes, q)
    np.testing.assert_allclose(scores, p @ q[:BOOKS].T, rtol=2e-3, atol=2e-4)
    assert np.abs(scores[COLD]).max() > 20 * 2e-4


@pytest.mark.parametrize("method", ["graph_filter method.rank=4", "ials model.dim=4"])
def test_a_source_without_weight_is_not_there(method: str) -> None:
    """Nothing is then known of a cold reader. The weight of one source takes out that one alone."""
    here, scores = world(), lambda *given, **hp: program(method)(*given, **hp)[1]
    alone = program(f"{method} method.domains=target")(here)[1]
    without = scores(here, source_weight=0)
    np.testing.assert_allclose(without, alone, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(without[COLD], 0, atol=1e-6)
    films = here.sources[0].train
    others = replace(here.sources[0], train=replace(films, items=films.items[::-1]))  # as many of each, with other readers
    shuffled = replace(here, sources=(others, here.sources[1]))
    one, same = (scores(each, source_weight=1, source_weight_1=0) for each in (here, shuffled))
    np.testing.assert_allclose(one, same, rtol=1e-3, atol=1e-5)
    both, different = (scores(each, source_weight=1) for each in (here, shuffled))
    for other in (alone, both):
        assert np.abs(one - other).max() > 0.01
    assert np.abs(both - different).max() > 0.01

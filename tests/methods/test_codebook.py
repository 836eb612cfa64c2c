"""Codebook transfer on planted clusters without a common user or item, with controls that have none; its co-clusters."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from transfer.api import compose
from transfer.experiment import Result, run_batch
from transfer.solvers import cocluster

# What four groups of people give four groups of things, in stars around the mean.
PATTERN = np.array([[1, -1, 1, -1], [1, 1, -1, -1], [-1, 1, 1, -1], [-1, -1, -1, 1]], np.float32)
NOISE = 0.6


def ratings(seed: int, people: int, things: int, density: float, pattern: NDArray[np.float32]) -> tuple[pl.DataFrame, ...]:
    """Ratings 3 + pattern + noise of some cells, and the groups of people and of things."""
    random = np.random.default_rng(seed)
    rows, columns = random.integers(0, 4, people), random.integers(0, 4, things)
    u, i = np.nonzero(random.random((people, things)) < density)
    values = 3 + pattern[rows[u], columns[i]] + NOISE * random.normal(size=len(u))
    frame = pl.DataFrame({"user_id": u, "item_id": i, "rating": values.clip(0, 6).round(2)})
    return frame, pl.DataFrame({"group": rows}), pl.DataFrame({"group": columns})


@cache
def outcome(source: float, target: float) -> tuple[Result, Result]:
    """codebook with its pattern and without (weight 0); source and target have the planted pattern (1) or none (0)."""
    folder = Path(mkdtemp(prefix="codebook-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ratings(0, 120, 60, 0.15, target * PATTERN)[0].write_csv(folder / "books.csv")
    ratings(1, 300, 100, 0.25, source * PATTERN)[0].write_csv(folder / "movies.csv")
    domain = ["domain=files", f"data_dir={folder}", "domain.target=books.csv", "domain.source=movies.csv"]
    words = [*domain, "domain.same_users=false", "task=rating", "split=ratio", "split.test=0.2", "train.progress=false"]
    words += ["method=codebook", "method.users=4", "method.items=4", "method.starts=6", "hp.damping=3", "hp.user_damping=3"]
    carried, alone = run_batch([compose([*words, f"hp.weight={weight}"]) for weight in (1, 0)])
    return carried, alone


def gain(source: float, target: float) -> float:
    """By how much the pattern lowers the test RMSE of the biases."""
    carried, alone = outcome(source, target)
    return alone.metrics["test"]["rmse"] - carried.metrics["test"]["rmse"]


def test_a_pattern_is_carried_without_a_common_user_or_item() -> None:
    carried, alone = outcome(1, 1)
    assert carried.facts["world"]["users_trained_in_both"] == 0
    assert alone.metrics["test"]["rmse"] > 1.1
    assert gain(1, 1) > 0.25, "the noise, 0.6, remains"


def test_without_a_pattern_there_is_nothing_to_carry() -> None:
    """A plain source's codebook is noise: it may fit the patterned target a little, as any codebook would."""
    assert np.abs(outcome(1, 1)[0].parameters["codebook"]["pattern"]).max() > 0.8
    assert np.abs(outcome(0, 1)[0].parameters["codebook"]["pattern"]).max() < 0.4
    assert gain(0, 1) < gain(1, 1) / 5
    assert gain(1, 0) < 0.01, "a target without the pattern has no use for it"


def as_matrix(frame: pl.DataFrame, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Deviations from 3, zero where unknown, and what is known."""
    x, known = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    cells = frame["user_id"].to_numpy(), frame["item_id"].to_numpy()
    x[cells], known[cells] = frame["rating"].to_numpy() - 3, 1
    return jnp.asarray(x), jnp.asarray(known)


def test_the_factorisation_finds_the_groups_and_nears_orthogonality() -> None:
    frame, people, things = ratings(2, 200, 80, 1.0, PATTERN)
    x = jnp.maximum(as_matrix(frame, (200, 80))[0] + 0.5, 0)
    factorise = jax.jit(cocluster.factorise, static_argnums=1)
    found = [factorise(x, (4, 4), jax.random.key(seed)) for seed in range(4)]
    agree = [
        [
            adjusted_rand_score(true["group"], np.asarray(part).argmax(1))
            for true, part in zip((people, things), pair, strict=True)
        ]
        for pair in found
    ]
    best = int(np.argmax([min(pair) for pair in agree]))
    assert min(agree[best]) > 0.9
    for part in found[best]:
        assert (np.asarray(part) >= 0).all()
        unit = np.asarray(part) / np.linalg.norm(part, axis=0)
        assert np.abs(unit.T @ unit - np.eye(4)).max() < 0.1, "random non-negative columns are at 0.8"


def test_errors_are_those_of_the_known_cells() -> None:
    random = np.random.default_rng(0)
    known = (random.random((5, 6)) < 0.5).astype(np.float32)
    x, pattern = random.normal(size=(5, 6)).astype(np.float32) * known, random.normal(size=(3, 2)).astype(np.float32)
    v = random.dirichlet(np.ones(2), 6).astype(np.float32)
    found = cocluster.errors(*map(jnp.asarray, (x, known, pattern, v)))
    for row in range(5):
        for group in range(3):
            expected = sum(
                v[i, of] * (x[row, i] - pattern[group, of]) ** 2 for i in range(6) for of in range(2) if known[row, i]
            )
            assert float(found[row, group]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_memberships_are_soft_where_little_is_known() -> None:
    frame, people, _ = ratings(3, 100, 60, 0.3, PATTERN)
    x, known = as_matrix(frame, (100, 60))
    x, known = x.at[0].set(0.0), known.at[0].set(0.0)
    runs = [cocluster.memberships(x, known, jnp.asarray(PATTERN), jnp.asarray(1.0), jax.random.key(k)) for k in range(4)]
    users = min(runs, key=lambda run: float(run[0]))[1]["users"]
    np.testing.assert_allclose(users[0], 0.25, atol=1e-3)
    assert adjusted_rand_score(people["group"][1:], np.asarray(users).argmax(1)[1:]) > 0.9

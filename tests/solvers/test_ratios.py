"""Shares of several sources by their inputs alone: those of a known mixture, whatever the sizes of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from transfer.solvers import ratios

Floats = NDArray[Any]


def clusters_of(rng: np.random.Generator, sizes: Sequence[tuple[int, int]], d: int = 3) -> Floats:
    """Normal points [n, d] around 4 times the i-th axis for every (i, n)."""
    return np.vstack([rng.normal(4 * np.eye(d)[i], 1.0, (n, d)) for i, n in sizes]).astype(np.float32)


def proportions_by_hand(sources: Sequence[Floats], target: Floats) -> Floats:
    """The quadratic programme at the width that tells the sources apart most surely, by SciPy."""
    median, k, programmes = np.median(np.square(target[:, None] - target[None]).sum(-1)), len(sources), []
    for width in ratios.WIDTHS:

        def alike(a: Floats, b: Floats, width: float = width) -> Floats:
            return np.exp(-np.square(a[:, None].astype(np.float64) - b).sum(-1) / (width * median))

        gram = np.array([[alike(a, b).mean() for b in sources] for a in sources])
        for i, x in enumerate(sources):
            gram[i, i] = np.mean(alike(x, x)[~np.eye(len(x), dtype=bool)])
        powers = []
        for i, j in combinations(range(k), 2):
            n = min(len(sources[i]), len(sources[j]))
            x, y = (of[np.arange(n) * len(of) // n] for of in (sources[i], sources[j]))
            h = alike(x, x) + alike(y, y) - alike(x, y) - alike(y, x)
            np.fill_diagonal(h, 0)
            variance = 4 * (h.sum(1) ** 2).sum() / n**3 - 4 * h.sum() ** 2 / n**4
            powers.append((gram[i, i] + gram[j, j] - 2 * gram[i, j]) / np.sqrt(variance))
        programmes.append((np.mean(powers), gram, np.array([alike(x, target).mean() for x in sources])))
    _, gram, wanted = max(programmes, key=lambda programme: programme[0])
    exact = optimize.minimize(
        lambda s: s @ gram @ s - 2 * s @ wanted,
        np.full(k, 1 / k),
        bounds=[(0, 1)] * k,
        constraints={"type": "eq", "fun": lambda s: s.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    return np.asarray(exact.x)


def test_mixture_proportions_are_those_of_the_target_and_solve_their_quadratic_programme() -> None:
    """Three clusters; the target is 0.7 of the first and 0.3 of the third, and the second is nowhere in it."""
    rng = np.random.default_rng(2)
    sources = [clusters_of(rng, [(i, 200)]) for i in range(3)]
    target = clusters_of(rng, [(0, 210), (2, 90)])
    ours = np.asarray(jax.jit(ratios.proportions)([jnp.asarray(x) for x in sources], jnp.asarray(target)))
    np.testing.assert_allclose(ours, [0.7, 0.0, 0.3], atol=0.03)
    np.testing.assert_allclose(ours, proportions_by_hand(sources, target), atol=5e-3)


@pytest.mark.parametrize("small", [20, 400])
def test_the_share_of_a_source_does_not_depend_on_its_size(small: int) -> None:
    """In fifty dimensions every point is far from every other: the twin of the target is told from a kin of many points."""
    rng = np.random.default_rng(4)
    kin, twin, target = (
        (rng.normal(size=(n, 50)) * np.r_[np.full(10, wide), np.ones(40)]).astype(np.float32)
        for n, wide in ((400, 1.5), (small, 1.0), (300, 1.0))
    )
    shares = jax.jit(ratios.proportions)([jnp.asarray(kin), jnp.asarray(twin)], jnp.asarray(target))
    assert float(shares[1]) > 0.8

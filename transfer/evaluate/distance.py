"""How far apart two domains are: MMD, the distance of their covariances, and how well a classifier tells them apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from transfer.data.examples.world import ExamplesWorld, Inputs, evenly_spaced
from transfer.evaluate.projection import project
from transfer.program import AnyWorld, Done, Program, Replicas, Run
from transfer.solvers.kernels import mmd

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def coral_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """|C_x - C_y|²_F / 4d² (Sun, Saenko 2016): [n, d], [m, d] -> scalar. For n, m < d from Gram matrices."""
    a, b = ((z - jnp.mean(z, axis=0)[None, :]) / jnp.sqrt(jnp.float32(z.shape[0] - 1)) for z in (x, y))
    if max(x.shape[0], y.shape[0]) < x.shape[1]:
        total = jnp.sum(jnp.square(a @ a.T)) + jnp.sum(jnp.square(b @ b.T)) - 2 * jnp.sum(jnp.square(a @ b.T))
    else:
        total = jnp.sum(jnp.square(a.T @ a - b.T @ b))
    return total / (4.0 * x.shape[1] ** 2)  # a float: the square may be beyond int32


def proxy_a_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2 (1 - 2 ε), ε the held-out error of a linear classifier of the domain (Ben-David et al. 2007), within 0 ... 2.

    Fixed protocol: rows alternate between two halves; in each half a ridge classifier's strength is chosen among five by
    its error between quarters, fitted on the half and scored on the other. Columns are scaled by both domains' std.
    """
    n = min(len(x), len(y)) // 4 * 4
    both = np.concatenate([x[:n], y[:n]]).astype(np.float64)
    both = (both - both.mean(0)) / (both.std(0) + 1e-6) / np.sqrt(x.shape[1])
    sign = np.repeat([-1.0, 1.0], n)
    fold = np.arange(2 * n) % 4

    def error(train: list[int], test: list[int], strength: float) -> float:
        here, there = np.isin(fold, train), np.isin(fold, test)
        mean = both[here].mean(0)
        a = both[here] - mean
        dual = np.linalg.solve(a @ a.T + strength * len(a) * np.eye(len(a)), sign[here])
        return float(np.mean(np.sign((both[there] - mean) @ (a.T @ dual)) != sign[there]))

    errors = []
    for half, other in (([0, 1], [2, 3]), ([2, 3], [0, 1])):
        inner = [error(half[:1], half[1:], s) + error(half[1:], half[:1], s) for s in STRENGTHS]
        errors.append(error(half, other, STRENGTHS[int(np.argmin(inner))]))
    return float(np.clip(2 * (1 - sum(errors)), 0, 2))


def distances(source: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """MMD, CORAL distance and proxy A-distance of two samples [n, d] and [m, d]."""
    with threadpool_limits(1):  # small systems: on a busy machine threads that wait for each other cost far more
        proxy_a = proxy_a_distance(source, target)
    return {"mmd": float(_mmd(source, target)), "coral": float(_coral_distance(source, target)), "proxy_a": proxy_a}


class Distances(NamedTuple):
    """How far apart source and target are `before` and `after` the map, a few of their examples in two dimensions, and the
    representations [n, d] of both that were compared: after the map where the method has one."""

    distance: dict[str, dict[str, float]]
    projection: pl.DataFrame | None
    spaces: tuple[np.ndarray, np.ndarray]


def measure_distances(
    program: Program, world: AnyWorld, done: Done, replicas: Replicas, run: Run, compared: bool
) -> list[Distances]:
    """What the map does to the distance of the domains, per replica; none for interactions or no source.

    Tokens have no `before`, and no place in a plane. Unless `compared`, the representations alone.
    """
    if not isinstance(world, ExamplesWorld) or not world.sources:
        return []
    raw = [np.asarray(x).reshape(x.shape[0], -1) for x in samples(world)]
    tokens = np.issubdtype(raw[0].dtype, np.integer)  # ids are no points of a space
    before = {"before": distances(*raw)} if compared and not tokens else {}
    if program.features is None:
        return [Distances(before, None, (raw[0], raw[1]))] * len(replicas.keys)

    def represent(world: ExamplesWorld, row: Any) -> list[jax.Array]:
        done, (_, hp) = row
        features = program.features(world, done, hp)  # type: ignore[misc]
        pairs = zip(samples(world), (1, 0), strict=True)
        return [features(Inputs(x, jnp.full(x.shape[0], domain, jnp.int32))) for x, domain in pairs]

    spaces = [np.asarray(z) for z in run("features", represent, world, (done, replicas))]
    after = [[z[i] for z in spaces] for i in range(len(replicas.keys))]
    if not compared:
        return [Distances({}, None, (pair[0], pair[1])) for pair in after]
    projections = [None if tokens else project(raw, pair) for pair in after]
    return [
        Distances({**before, "after": distances(*pair)}, points, (pair[0], pair[1]))
        for pair, points in zip(after, projections, strict=True)
    ]


def samples(world: ExamplesWorld) -> tuple[jax.Array, jax.Array]:
    """At most 500 examples of the first source and of the target, evenly spaced: what distances are measured on."""
    return evenly_spaced(world.sources[0].train.x), evenly_spaced(world.unlabelled)


_mmd, _coral_distance = jax.jit(mmd), jax.jit(coral_distance)

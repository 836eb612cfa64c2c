"""A weight for every source: with 0 what it says is not heard, with 1 it is; strangers learn to have exactly none."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, world_of
from numpy.typing import NDArray

from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings
from transfer.learning import source_weights
from transfer.program import Fit, Program, stream
from transfer.registry import find

Floats = NDArray[np.float64]
READERS, FILMS, BOOKS = 120, 16, 10


@cache
def drawn() -> tuple[Floats, ...]:
    """Books by taste, films by the same taste, and twice films without any, of which everybody has as many as of those."""
    random = np.random.default_rng(0)
    taste = random.normal(size=(READERS, 3))
    events = (taste @ random.normal(size=(3, FILMS + BOOKS)) + random.normal(size=(READERS, FILMS + BOOKS)) > 1).astype(
        float
    )
    books, films = events[:, :BOOKS], events[:, BOOKS:]
    return books, films, *(random.permuted(films, axis=1) for _ in range(2))


def world(*sources: Floats) -> World:
    return world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (drawn()[0], *sources)))


def config(method: str, *words: str) -> Config:
    return check_settings(
        compose(["task=ranking", f"method={method}", "model.dim=4", "model.init=0.3", "train.batch_size=32", *words])
    )


def scores(method: str, world: World, *weights: float) -> Floats:
    """What the method says after its closed forms, or after ten steps down its loss."""
    settings = config(method)
    task, model = build_task(settings, world), find("models", settings.model.name).build(settings.model)
    program = find("methods", method).build(settings, world, task, model)
    hp = {name: jnp.float32(value) for name, value in settings.hp.items()}
    hp |= {f"source_weight_{i}": jnp.float32(weight) for i, weight in enumerate(weights, start=1)}
    return np.asarray(_scores(program, world, hp), np.float64)


def _scores(program: Program, world: World, hp: Any) -> jax.Array:
    @jax.jit
    def all_of(world: World, hp: Any) -> jax.Array:
        done: dict[str, Any] = {}
        for stage in program.stages:
            key = jax.random.key(0)
            done[stage.name] = (
                _descend(stage, world, hp, key) if isinstance(stage, Fit) else stage.solve(world, done, hp, key)
            )
        return program.scores(world, done, hp)(jnp.arange(world.n_users))

    return all_of(world, hp)


def _descend(stage: Fit, world: World, hp: Any, key: jax.Array) -> Any:
    def step(params: Any, i: jax.Array) -> tuple[Any, None]:
        own = stream(key, "step", i)
        slope = jax.grad(stage.loss)(params, {}, stage.batch(world, {}, own), hp, own, jnp.float32(0))
        return jax.tree.map(lambda value, down: value - 0.3 * down, params, slope), None

    return jax.lax.scan(step, stage.init(world, {}, key), jnp.arange(10))[0]


@pytest.mark.parametrize("method", ["user_knn", "ridge_map", "history_map", "cmf"])
def test_a_source_without_weight_is_not_heard(method: str) -> None:
    _, films, strange, others = drawn()
    one, other = world(films, strange), world(films, others)
    weighed = scores(method, one, 1, 0), scores(method, other, 1, 0)
    np.testing.assert_allclose(*weighed, rtol=1e-5, atol=1e-6)
    heard = scores(method, one, 1, 1), scores(method, other, 1, 1)
    assert np.abs(heard[0] - heard[1]).max() > 1e-3 * np.abs(heard[0]).max(), "with a weight it is"
    assert np.abs(heard[0] - weighed[0]).max() > 1e-3 * np.abs(heard[0]).max()


@pytest.mark.parametrize("method", ["ridge_map", "residual_map"])
def test_strangers_learn_to_have_no_weight(method: str) -> None:
    _, films, strange, _ = drawn()
    settings = config(method, "method.sources=learnt", "hp.ridge=3")
    both = world(strange, films)
    program = build_program(settings, both, build_task(settings, both))
    hp = {name: jnp.float32(value) for name, value in settings.hp.items()}
    learnt = jax.jit(lambda world, hp: program.stages[0].solve(world, {}, hp, jax.random.key(0)))(both, hp)  # type: ignore[union-attr]
    assert learnt["weights"][0] == 0
    assert learnt["weights"][1] > 0.3


def test_weights_are_learnt_from_likes_and_of_sources_that_there_are() -> None:
    both = world(*drawn()[1:3])
    settings = config("ridge_map", "method.sources=best_3")
    with pytest.raises(TransferError, match="the world has 2 sources"):
        source_weights.stages(settings, both)
    rated = compose(["task=rating", "method=ridge_map", "method.sources=learnt"])
    with pytest.raises(TransferError, match="task=ranking"):
        source_weights.stages(rated, both)

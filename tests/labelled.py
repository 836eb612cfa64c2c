"""Planted worlds of labelled examples for tests, made of arrays without files."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer.api import compose
from transfer.data.examples.world import ExamplesWorld, Rows, build_examples
from transfer.experiment.build import build_program, build_task, replicas_of
from transfer.experiment.checks import check_settings
from transfer.program import Done, Program, Solve, stream
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

NONE = np.zeros(0, np.int64)


@lru_cache(maxsize=16)
def shifted_world(
    scale: float = 1.0, shift: float = 0.0, same: bool = False, few: bool = False, n: int = 150
) -> ExamplesWorld:
    """Three classes in five dimensions; the target is moved by `shift` and its first column scaled. `same`: one sample."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 3, n) for _ in range(2)]
    centres = 3 * np.eye(3, 5)
    xs = [(rng.normal(size=(n, 5)) + centres[of]).astype(np.float32) for of in labels]
    if same:
        xs, labels = [xs[1], xs[1]], [labels[1], labels[1]]
    # between the classes, so that a classifier of the source mistakes one class for another
    xs[0] = (xs[0] * np.array([scale, 1, 1, 1, 1]) + shift * np.array([1, -1, 0, 0.5, 0])).astype(np.float32)
    ys = [np.eye(3, dtype=np.float32)[of] for of in labels]
    rows = np.arange(n)
    known = rows[:30] if few else NONE
    seen = rows[: n - 20] if same else rows  # the rows of the source
    target = Rows(known[:24], known[24:], seen, rows[len(known) :])
    source = Rows(rows[: n - 20], rows[n - 20 :], NONE, NONE)
    return build_examples(["target", "source"], xs, ys, [target, source], ("a", "b", "c"), False).world


def solved(method: str, world: ExamplesWorld, *overrides: str) -> tuple[Program, Done]:
    """The closed forms of a method on a world, for one replica."""
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(world))
    program, replicas = _program(method, overrides, shapes, _Same(world))
    return program, _solve(program, world, replicas)


class _Same:
    """A world that counts as equal to every other: worlds of the same shapes share one compiled program."""

    def __init__(self, world: ExamplesWorld):
        self.world = world

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _program(method: str, overrides: tuple[str, ...], shapes: Any, like: _Same) -> tuple[Program, Any]:
    config = check_settings(compose(["domain=digits_shift", f"method={method}", "hp.l2=0.01", *overrides]))
    return build_program(config, like.world, build_task(config, like.world)), replicas_of([config])


@partial(jax.jit, static_argnums=0)
def _solve(program: Program, world: ExamplesWorld, replicas: Any) -> Done:
    key, hp = replicas.keys[0], {name: value[0] for name, value in replicas.hp.items()}
    done: dict[str, Any] = {}
    for stage in program.stages:
        assert isinstance(stage, Solve)
        done[stage.name] = stage.solve(world, done, hp, stream(key, stage.name))
    return done


@partial(jax.jit, static_argnums=1)
def accuracy(world: ExamplesWorld, program: Program, done: Done) -> jax.Array:
    """The share of test examples whose class is right."""
    test = world.test
    logits = jax.lax.map(program.scores(world, done, {}), test.inputs)
    right = jnp.where(logits.argmax(-1) == test.y.argmax(-1), test.weight, 0.0)
    return jnp.sum(right) / jnp.sum(test.weight)


def fitted(method: str, world: ExamplesWorld, replicas: list[tuple[str, ...]]) -> tuple[Program, list[Done]]:
    """A method's network (mlp) on a world, for replicas that differ in numbers: the program and parameters of each."""
    budget = ("train.epochs=40", "train.evaluate_every=40", "train.batch_size=64", "train.progress=false", "model.dim=8")
    words = ("domain=digits_shift", f"method={method}", "model=mlp", "hp.learning_rate=0.01", *budget)
    configs = [check_settings(compose([*words, *numbers])) for numbers in replicas]
    task = build_task(configs[0], world)
    program = build_program(configs[0], world, task)
    run = Compiler("map", {}, {})
    ids = [str(i) for i in range(len(configs))]
    seeds = [each.seed for each in configs]
    done, _ = run_stages(program, Job(task, world, "", replicas_of(configs), ids, seeds, configs[0].train, run))
    done = jax.device_get(done)
    return program, [jax.tree.map(lambda leaf, i=i: leaf[i], done) for i in range(len(configs))]

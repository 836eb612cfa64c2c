"""Seconds of one training step; the unit is a float32 matrix product of 512 x 512 x 512 on the same device."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.measuring import Row, best_of, in_turns

REAL = ("train.progress=false", "train.keep=last")
ORDERED = ("domain=amazon_movies_books_dated", "split=fold_in", "split.share=1", "split.valid=0.15", "split.test=0.25")
CASES = {
    "BPR-MF, 4,096 events": ("domain=amazon_movies_books", "split=ratio", "method=target_only", "train.batch_size=4096"),
    "cmf, 4,096 events": ("domain=amazon_movies_books", "split=ratio", "method=cmf", "train.batch_size=4096"),
    **{
        f"{model}, 256 windows of {length}": (*ORDERED, f"model={model}", f"model.length={length}", "train.batch_size=256")
        for model in ("sasrec", "gru4rec", "caser")
        for length in (12, 50)
    },
}
UNIT = "a product of 512 x 512 x 512"
STEPS, MORE = 8, 32


def measure(arguments: argparse.Namespace) -> list[Row]:
    measured = {name: step((*words, *REAL, f"data_dir={arguments.data_dir}")) for name, words in CASES.items()}
    return in_turns({UNIT: product, **measured}, UNIT, arguments.turns)


def product() -> float:
    import jax

    x = jax.random.normal(jax.random.key(0), (512, 512))
    multiply = jax.jit(lambda x: x @ x)
    return best_of(lambda: multiply(x))


def step(words: tuple[str, ...], world: Any = None) -> Callable[[], float]:
    """Seconds of one step of the first stage, a batch drawn, its gradient, Adam: what MORE steps than STEPS take more.

    So what a call has to do once, such as to copy tables, is not counted. world: in place of the one that words describe.
    """
    import jax

    from transfer.api import compose
    from transfer.experiment.build import build_program, build_task, load_world, replicas_of, with_batches
    from transfer.experiment.checks import check_settings
    from transfer.training.compiler import Compiler
    from transfer.training.loop import Setup, descend, start, updates_for

    config = check_settings(compose(words))
    world = jax.device_put(world or with_batches(config, load_world(config)).world)
    task = build_task(config, world)
    stage: Any = build_program(config, world, task).stages[0]
    rows = replicas_of([config])
    state = start(stage, config.train, world, {}, rows, Compiler("loop", {}, {}))
    one, (key, hp) = jax.tree.map(lambda leaf: leaf[0], (state, rows))

    def steps(number: int, moving: Any, world: Any, state: Any, hp: Any, key: Any) -> Any:
        state = state._replace(params=moving[0], optimizer=moving[1])
        updates = updates_for(stage, config.train, world, {}, hp, key, state.params)
        return descend(Setup(stage, task, config.train, number, number), updates, world, state, {}, hp, key)

    few, many = (jax.jit(partial(steps, number), donate_argnums=0) for number in (STEPS, STEPS + MORE))
    moving, rest = (one.params, one.optimizer), one._replace(params=None, optimizer=None, best=None)

    def block(steps: Any) -> Any:
        """Its tables are given away, as in training: they are there once."""
        nonlocal moving
        params, moments, loss = steps(moving, world, rest, hp, key)
        moving = params, moments
        return loss

    def measured() -> float:
        fewer = best_of(lambda: block(few))
        return (best_of(lambda: block(many)) - fewer) / MORE

    return measured

"""Gradient descent, the one training loop: θ ← θ - η ∇L in blocks of steps under lax.scan, over all replicas."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transfer.config.schema import Train
from transfer.data.interactions.world import at_inference
from transfer.program import AnyWorld, Done, Fit, Hp, Params, Replicas, Run, Solve, Task, stream
from transfer.training import devices
from transfer.training.compiler import Compiler
from transfer.training.processes import everywhere
from transfer.training.rates import Moving
from transfer.training.updates import Update, moments_before, step, up_to_date, updates_of

DRAWN = 2**24  # bytes of batches that are drawn at once


class State(NamedTuple):
    """All that a block changes, so all that a checkpoint holds (per replica)."""

    params: Params
    optimizer: Any
    best: Params
    best_score: jax.Array  # of `best`, higher is better
    waited: jax.Array  # evaluations since the best
    step: jax.Array
    active: jax.Array
    diverged: jax.Array


class Block(NamedTuple):
    """What one block reports: the mean loss of its steps, the validation metrics at its end and what the stage watches."""

    loss: jax.Array
    metrics: dict[str, jax.Array]


def solve(stage: Solve, world: AnyWorld, done: Done, replicas: Replicas, run: Run) -> Params:
    """The closed form of a stage for every replica: done with a leading axis R -> params [R].

    It is waited for: programs run asynchronously, and the seconds of a solve are seconds of training.
    """
    return jax.block_until_ready(run(*solving(stage), world, (done, replicas), parameters=True))


def solving(stage: Solve) -> tuple[str, Callable[..., Params]]:
    """The name of the program of a closed form, and what it does for one replica."""

    def solve_row(world: AnyWorld, row: Any) -> Params:
        done, (key, hp) = row
        return stage.solve(world, done, hp, stream(key, stage.name))

    return f"{stage.name}/solve", solve_row


def start(stage: Fit, train: Train, world: AnyWorld, done: Done, replicas: Replicas, run: Run) -> State:
    """The state before the first step, for every replica."""

    def start_row(world: AnyWorld, row: Any) -> State:
        done, (key, hp) = row
        params = stage.init(world, done, stream(key, f"{stage.name}/init"))
        updates = updates_for(stage, train, world, done, hp, key, params)
        return State(
            params=params,
            optimizer=moments_before(stage, train, updates, hp, params),
            best=params,
            best_score=jnp.float32(-jnp.inf),
            waited=jnp.int32(0),
            step=jnp.int32(0),
            active=jnp.bool_(True),
            diverged=jnp.bool_(False),
        )

    return run(f"{stage.name}/start", start_row, world, (done, replicas), parameters=True)


def train_stage(
    stage: Fit,
    task: Task,
    world: AnyWorld,
    done: Done,
    replicas: Replicas,
    train: Train,
    state: State,
    run: Compiler,
    spent: np.ndarray,
    on_block: Callable[[State, list[dict[str, Any]], int, int], None],
) -> State:
    """Run a stage from `state` until every replica has stopped early, diverged or used its epochs, steps or seconds.

    spent [R]: seconds that each replica has had, its equal share of every block; added to.
    on_block(state, records, step, total steps) is called between blocks with one record of losses and metrics per
    replica (none for replicas that had stopped); an exception raised there ends the fit.
    """
    length, total = plan(stage, world, train)
    while True:
        active = np.array(state.active)
        step = int(np.max(np.asarray(state.step)))
        if not active.any() or step >= total or spent[active].max() >= (train.seconds or np.inf):
            return state
        size = min(length, total - step)
        block = make_block(stage, task, train, total, size)
        began, compiling = time.perf_counter(), run.clock.get("compile", 0.0)
        rows = state, done, replicas
        state, report = run(block_name(stage, size), block, world, rows, used_up=True, parameters=True)
        report = jax.device_get(report)
        steps = time.perf_counter() - began - (run.clock.get("compile", 0.0) - compiling)
        run.clock["steps"] = run.clock.get("steps", 0.0) + steps
        spent[active] += everywhere(steps).max() / active.sum()
        on_block(state, _records(stage, report, active, step + size), step + size, total)


def identity(stage: Fit, task: Task, world: AnyWorld, done: Done, replicas: Replicas, train: Train, run: Compiler) -> str:
    """The text of what a stage computes for one replica, equal for equal computations: its lowered start and block."""
    length, total = plan(stage, world, train)
    texts = [f"{total} steps, {train.seconds} seconds"]  # dead code in the block unless the loss looks at the progress

    def lower(name: str, function: Callable[..., Any], shared: Any, rows: Any, **_: Any) -> Any:
        texts.append(run.text(name, function, shared, rows))
        return run.shapes(name, function, shared, rows)

    state = start(stage, train, world, done, replicas, lower)
    lower(block_name(stage, length), make_block(stage, task, train, total, length), world, (state, done, replicas))
    return "\n".join(texts)


def block_name(stage: Fit, size: int) -> str:
    return f"{stage.name}/block of {size}"


def plan(stage: Fit, world: AnyWorld, train: Train) -> tuple[int, int]:
    """Steps of a block (the last may be shorter), and of the whole budget."""
    length = train.evaluate_every * max(1, -(-stage.size(world) // train.batch_size))
    total = train.steps or -(-train.epochs // train.evaluate_every) * length
    return min(length, total), total


class Setup(NamedTuple):
    """What a block is compiled for: a stage, how it is trained, the steps of its whole budget and of this block."""

    stage: Fit
    task: Task
    train: Train
    total: int
    length: int


def make_block(stage: Fit, task: Task, train: Train, total: int, length: int) -> Callable[..., Any]:
    """A block of `length` steps and one evaluation, per replica: (world, (state, done, (key, hp))) -> (state, Block)."""
    return partial(block_or_rest, Setup(stage, task, train, total, length))


def block_or_rest(setup: Setup, world: AnyWorld, row: Any) -> tuple[State, Block]:
    """The block of a replica that is active; the same state, and a report of NaN, of one that is not."""
    state, done, (key, hp) = row
    active = jax.jit(partial(train_block, setup))  # traced once for its shapes and the branch
    report = jax.eval_shape(active, world, state, done, hp, key)[1]

    def rest(*_: Any) -> tuple[State, Block]:
        return state, jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), report)

    return jax.lax.cond(state.active, active, rest, world, state, done, hp, key)


def train_block(setup: Setup, world: AnyWorld, state: State, done: Done, hp: Hp, key: jax.Array) -> tuple[State, Block]:
    """`length` steps, an evaluation, and what follows from it."""
    updates = updates_for(setup.stage, setup.train, world, done, hp, key, state.params)
    params, moments, loss = descend(setup, updates, world, state, done, hp, key)
    params, moments = up_to_date(setup.stage, setup.train, updates, hp, params, moments, state.step + setup.length)
    if setup.stage.revised:
        params = setup.stage.revised(at_inference(world), {**done, setup.stage.name: params}, hp)
    metrics, watched = evaluate(setup, world, params, done, hp)
    return advance(setup, updates[0].moving, state, params, moments, loss, metrics), Block(loss, {**watched, **metrics})


def updates_for(
    stage: Fit, train: Train, world: AnyWorld, done: Done, hp: Hp, key: jax.Array, params: Params
) -> list[Update]:
    """The updates of a step, on batches as they are drawn."""
    batch = partial(jax.eval_shape, partial(draw_batch, stage), world, done, key, jnp.int32(0))
    return updates_of(stage, train, done, batch, hp, key, params)


def descend(
    setup: Setup, updates: list[Update], world: AnyWorld, state: State, done: Done, hp: Hp, key: jax.Array
) -> tuple[Params, Any, jax.Array]:
    """The steps of a block: parameters, moments and the mean loss. Batches are drawn for several steps at once."""
    draw = jax.jit(partial(draw_batch, setup.stage))
    update = partial(step, setup.stage, setup.train, setup.total, updates, done, hp, key)

    def several(carry: tuple[Params, Any], numbers: jax.Array) -> tuple[tuple[Params, Any], jax.Array]:
        batches = devices.batches(setup.train, jax.vmap(draw, in_axes=(None, None, None, 0))(world, done, key, numbers))
        return jax.lax.scan(update, carry, (numbers, batches))

    numbers = state.step + jnp.arange(setup.length, dtype=jnp.int32)
    groups = numbers.reshape(-1, _drawn_together(setup.length, jax.eval_shape(draw, world, done, key, state.step)))
    (params, moments), losses = jax.lax.scan(several, (state.params, state.optimizer), groups)
    return params, moments, jnp.mean(losses)


def draw_batch(stage: Fit, world: AnyWorld, done: Done, key: jax.Array, number: jax.Array) -> Any:
    """The batch of a step."""
    if stage.batch_at:
        return stage.batch_at(world, done, stream(key, f"{stage.name}/batch"), number)
    return stage.batch(world, done, stream(key, f"{stage.name}/batch", number))


def evaluate(
    setup: Setup, world: AnyWorld, params: Params, done: Done, hp: Hp
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """The metrics of the stage's held-out part, and the figures that it watches."""
    stage, done = setup.stage, {**done, setup.stage.name: params}
    metrics = setup.task.evaluate(stage.scores(at_inference(world), done, hp), stage.heldout(world))
    return metrics, stage.watch(world, done, hp) if stage.watch else {}


def advance(
    setup: Setup,
    moving: Moving,
    state: State,
    params: Params,
    moments: Any,
    loss: jax.Array,
    metrics: dict[str, jax.Array],
) -> State:
    """The state after a block: the best parameters so far, and whether to go on (early stopping, divergence)."""
    task, train, number = setup.task, setup.train, state.step + setup.length
    score = task.sign * metrics[task.select]
    diverged = ~(jnp.isfinite(loss) & jnp.isfinite(score))
    better = ~diverged & ((score > state.best_score) | (train.keep == "last"))
    waited = jnp.where(better, 0, state.waited + 1)
    late = max((rate.since for rate in moving.rates), default=0.0)
    if late > 0:  # patience begins when all of it trains
        waited = jnp.where(number < math.ceil(late * setup.total), 0, waited)
    pairs = zip(moving.leaves(params), moving.leaves(state.best), strict=True)
    return State(
        params,
        moments,
        best=moving.replaced(params, [jnp.where(better, new, old) for new, old in pairs]),
        best_score=jnp.where(better, score, state.best_score),
        waited=waited,
        step=number,
        active=~diverged & (waited < train.patience),
        diverged=diverged,
    )


def _drawn_together(length: int, batch: Any) -> int:
    """For how many steps batches are drawn at once, a divisor of `length`: small kernels cost most of a draw."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch))
    return max(n for n in range(1, length + 1) if length % n == 0 and (n == 1 or n * size <= DRAWN))


def _records(stage: Fit, report: Block, active: np.ndarray, step: int) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage.name,
            "step": step,
            "loss": float(report.loss[i]),
            **{name: float(value[i]) for name, value in report.metrics.items()},
        }
        if active[i]
        else {}
        for i in range(len(active))
    ]

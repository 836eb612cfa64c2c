"""fit(): the one training loop. Blocks of steps under lax.scan inside one jit, over all replicas; it knows no method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from transfer.config.schema import Train
from transfer.data.interactions.world import at_inference
from transfer.program import AnyWorld, Done, Fit, Hp, Params, Rate, Replicas, Run, Solve, Task, Turn, stream
from transfer.training.compiler import Compiler, over_replicas

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

    def one(world: AnyWorld, each: Any) -> Params:
        done, (key, hp) = each
        return stage.solve(world, done, hp, stream(key, stage.name))

    return jax.block_until_ready(run(f"{stage.name}/solve", one, world, (done, replicas)))


def start(stage: Fit, world: AnyWorld, done: Done, replicas: Replicas, run: Run) -> State:
    """The state before the first step, for every replica."""

    def one(world: AnyWorld, each: Any) -> State:
        done, (key, hp) = each
        params = stage.init(world, done, stream(key, f"{stage.name}/init"))
        return State(
            params=params,
            optimizer=[stage.optimizer(hp).init(moving.leaves(params)) for moving in movers(stage, params)],
            best=params,
            best_score=jnp.float32(-jnp.inf),
            waited=jnp.int32(0),
            step=jnp.int32(0),
            active=jnp.bool_(True),
            diverged=jnp.bool_(False),
        )

    return run(f"{stage.name}/start", one, world, (done, replicas))


def fit(
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
        active = np.asarray(state.active)
        step = int(np.max(np.asarray(state.step)))
        if not active.any() or step >= total or spent[active].max() >= (train.seconds or np.inf):
            return state
        size = min(length, total - step)
        block = make_block(stage, task, train, total, size)
        began, compiling = time.perf_counter(), run.clock.get("compile", 0.0)
        state, report = run(f"{stage.name}/block of {size}", block, world, (state, done, replicas))
        report = jax.device_get(report)
        steps = time.perf_counter() - began - (run.clock.get("compile", 0.0) - compiling)
        run.clock["steps"] = run.clock.get("steps", 0.0) + steps
        spent[active] += steps / active.sum()
        on_block(state, _records(stage, report, active, step + size), step + size, total)


def identity(stage: Fit, task: Task, world: AnyWorld, done: Done, replicas: Replicas, train: Train) -> str:
    """The text of what a stage computes for one replica, equal for equal computations: its lowered start and block."""
    length, total = plan(stage, world, train)
    block = make_block(stage, task, train, total, length)
    texts = [f"{total} steps, {train.seconds} seconds"]  # dead code in the block unless the loss looks at the progress

    def lower(name: str, one: Callable[..., Any], shared: Any, each: Any) -> Any:
        row = jax.eval_shape(lambda each: jax.tree.map(lambda leaf: leaf[0], each), each)
        texts.append(jax.jit(one).lower(shared, row).as_text())
        return jax.eval_shape(over_replicas(one, "map"), shared, each)

    state = start(stage, world, done, replicas, lower)
    lower("block", block, world, (state, done, replicas))
    return "\n".join(texts)


def plan(stage: Fit, world: AnyWorld, train: Train) -> tuple[int, int]:
    """Steps of a block (the last may be shorter), and of the whole budget."""
    length = train.evaluate_every * max(1, -(-stage.size(world) // train.batch_size))
    total = train.steps or -(-train.epochs // train.evaluate_every) * length
    return min(length, total), total


def make_block(stage: Fit, task: Task, train: Train, total: int, length: int) -> Callable[..., Any]:
    """A block of `length` steps and one evaluation, per replica: (world, (state, done, (key, hp))) -> (state, Block)."""

    def steps(world: AnyWorld, state: State, done: Done, key: jax.Array, hp: Hp) -> tuple[State, Block]:
        optimizer, moving = stage.optimizer(hp), movers(stage, state.params)

        def draw(step: jax.Array) -> Any:
            if stage.batch_at:
                return stage.batch_at(world, done, stream(key, f"{stage.name}/batch"), step)
            return stage.batch(world, done, stream(key, f"{stage.name}/batch", step))

        def whole(params: Params, batch: Any, noise: jax.Array, hp: Hp, progress: jax.Array) -> jax.Array:
            value = stage.loss(params, batch, noise, hp, progress)
            return value + stage.penalty(params, done, hp) if stage.penalty else value

        def one(carry: tuple[Params, Any], at: tuple[jax.Array, Any]) -> tuple[tuple[Params, Any], jax.Array]:
            (params, moments), (step, batch) = carry, at
            noise = stream(key, f"{stage.name}/noise", step)
            progress = step.astype(jnp.float32) / total
            after, values = [], []
            for i, (turn, own, state) in enumerate(zip((Turn(whole, ()), *stage.turns), moving, moments, strict=True)):
                for n in range(turn.times):
                    drawn = stream(noise, f"turn {i}", n) if i else noise
                    loss = partial(_at, turn.loss, own, params, batch, drawn, hp, progress)
                    value, gradient = jax.value_and_grad(loss)(own.leaves(params))
                    updates, state = optimizer.update(gradient, state, own.leaves(params))
                    scaled = own.scale(updates, hp, progress)
                    scaled = [u * turn.rate(hp, progress) for u in scaled] if turn.rate else scaled
                    params = own.replaced(params, optax.apply_updates(own.leaves(params), scaled))
                after.append(state)
                values.append(value)
            return (params, after), values[0]

        def several(carry: tuple[Params, Any], steps: jax.Array) -> tuple[tuple[Params, Any], jax.Array]:
            return jax.lax.scan(one, carry, (steps, jax.vmap(draw)(steps)))

        numbers = state.step + jnp.arange(length, dtype=jnp.int32)
        groups = numbers.reshape(-1, _drawn_together(length, jax.eval_shape(draw, state.step)))
        (params, moments), losses = jax.lax.scan(several, (state.params, state.optimizer), groups)
        loss = jnp.mean(losses)
        metrics = task.evaluate(
            stage.scores(at_inference(world), {**done, stage.name: params}, hp), stage.heldout(world), full=False
        )
        watched = stage.watch(world, {**done, stage.name: params}, hp) if stage.watch else {}
        score = task.sign * metrics[task.select]
        diverged = ~(jnp.isfinite(loss) & jnp.isfinite(score))
        better = ~diverged & ((score > state.best_score) | (train.keep == "last"))
        waited = jnp.where(better, 0, state.waited + 1)
        late = max((rate.since for rate in moving[0].rates), default=0.0)
        if late > 0:  # patience begins when all of it trains
            waited = jnp.where(state.step + length < math.ceil(late * total), 0, waited)
        pairs = zip(moving[0].leaves(params), moving[0].leaves(state.best), strict=True)
        best = moving[0].replaced(params, [jnp.where(better, new, old) for new, old in pairs])
        return State(
            params,
            moments,
            best,
            best_score=jnp.where(better, score, state.best_score),
            waited=waited,
            step=state.step + length,
            active=~diverged & (waited < train.patience),
            diverged=diverged,
        ), Block(loss, {**watched, **metrics})

    def block(world: AnyWorld, each: Any) -> tuple[State, Block]:
        state, done, (key, hp) = each
        empty = jax.eval_shape(steps, world, state, done, key, hp)[1]

        def rest(*_: Any) -> tuple[State, Block]:
            return state, jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), empty)

        return jax.lax.cond(state.active, steps, rest, world, state, done, key, hp)

    return block


def _at(loss: Callable[..., jax.Array], own: Moving, params: Params, *rest: Any) -> jax.Array:
    """A loss as a function of the leaves that move, which come last."""
    *others, moved = rest
    return loss(own.replaced(params, moved), *others)


def _drawn_together(length: int, batch: Any) -> int:
    """For how many steps batches are drawn at once, a divisor of `length`: small kernels cost most of a draw."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch))
    return max(n for n in range(1, length + 1) if length % n == 0 and (n == 1 or n * size <= DRAWN))


def rates_of(stage: Fit, params: Params) -> list[Rate]:
    """How each leaf of the parameters trains, in the order of `jax.tree.leaves`."""
    leaves = len(jax.tree.leaves(params))
    return jax.tree.leaves(stage.rates(params)) if stage.rates else [Rate()] * leaves


class Moving(NamedTuple):
    """Which leaves of the parameters train; nothing is computed for the others."""

    rates: list[Rate]
    structure: Any

    def leaves(self, params: Params) -> list[jax.Array]:
        """The leaves that train."""
        return [leaf for leaf, rate in zip(jax.tree.leaves(params), self.rates, strict=True) if rate.factor]

    def replaced(self, params: Params, moved: list[jax.Array]) -> Params:
        """The parameters with these leaves in place of those that train."""
        new, leaves = iter(moved), zip(jax.tree.leaves(params), self.rates, strict=True)
        return jax.tree.unflatten(self.structure, [next(new) if rate.factor else leaf for leaf, rate in leaves])

    def scale(self, updates: list[jax.Array], hp: Hp, progress: jax.Array) -> list[jax.Array]:
        """Updates times their factors; zero before their time has come."""
        moving = [rate for rate in self.rates if rate.factor]
        scaled = [u * rate.factor if rate.factor != 1 else u for u, rate in zip(updates, moving, strict=True)]
        scaled = [u * hp[rate.by] if rate.by else u for u, rate in zip(scaled, moving, strict=True)]
        started = zip(scaled, moving, strict=True)
        return [jnp.where(progress >= rate.since, u, 0.0) if rate.since > 0 else u for u, rate in started]


def movers(stage: Fit, params: Params) -> list[Moving]:
    """What moves in the updates of a step: in that of the loss all that trains, then in each turn what it names."""
    rates, structure = rates_of(stage, params), jax.tree.structure(params)

    def only(keys: tuple[str, ...]) -> list[Rate]:
        named = jax.tree.leaves({key: jax.tree.map(lambda _, key=key: key in keys, part) for key, part in params.items()})
        return [rate if mine else Rate(0.0) for rate, mine in zip(rates, named, strict=True)]

    return [Moving(rates, structure), *(Moving(only(turn.moves), structure) for turn in stage.turns)]


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

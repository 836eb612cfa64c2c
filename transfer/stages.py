"""Run the stages of a program in order, over all replicas, with a checkpoint after every block."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from transfer import checkpoint
from transfer.compiler import Compiler, Replicas, over_replicas
from transfer.config import Train
from transfer.errors import TransferError
from transfer.program import AnyWorld, Done, Fit, Program, Solve, Task
from transfer.progress import Interrupted, Progress, console, interrupted
from transfer.train import State, fit, solve, start

Records = list[list[dict[str, Any]]]  # per replica, one object per evaluation


def run_stages(
    program: Program,
    task: Task,
    world: AnyWorld,
    replicas: Replicas,
    train: Train,
    run: Compiler,
    *,
    ids: list[str],
    path: Path | None = None,
    resume: bool = False,
) -> tuple[Done, Records]:
    """Fit or solve every stage: (parameters by stage with a leading replica axis, records).

    path: where the checkpoint lies while this runs, at most one every `train.checkpoint_seconds`; resume goes on from it,
    with the result of an uninterrupted run. Raises Interrupted, after saving, when a stop was asked for.
    """
    done: Done = {}
    records: Records = [[] for _ in ids]
    first, state = 0, None
    if resume and path and path.exists():
        first, done, state, records = _restore(path, program, world, replicas, ids)
    for number, stage in enumerate(program.stages):
        if number < first:
            continue
        if not isinstance(stage, Fit):
            done = {**done, stage.name: solve(stage, world, done, replicas, run)}
            continue
        if state is None:
            state = start(stage, world, done, replicas, run)
        state = _fit(number, stage, task, world, done, replicas, train, run, state, records, ids, path)
        done, state = {**done, stage.name: state.best}, None
    return done, records


def _fit(
    number: int,
    stage: Fit,
    task: Task,
    world: AnyWorld,
    done: Done,
    replicas: Replicas,
    train: Train,
    run: Compiler,
    state: State,
    records: Records,
    ids: list[str],
    path: Path | None,
) -> State:
    """One gradient stage with its progress bar and its checkpoints; appends to `records`."""
    saved = time.monotonic()

    def on_block(state: State, block: list[dict[str, Any]], step: int, total: int) -> None:
        nonlocal saved
        for of_replica, record in zip(records, block, strict=True):
            of_replica.extend([record] if record else [])
        bar.update(block, step, total)
        if path and (interrupted() or time.monotonic() - saved >= train.checkpoint_seconds):
            facts = {"ids": ids, "stage": number, "records": records}
            checkpoint.save_tree(path, {"done": done, "state": state}, facts)
            saved = time.monotonic()
        if interrupted():
            raise Interrupted

    with Progress(stage.name, task.select, train.progress) as bar:
        return fit(stage, task, world, done, replicas, train, state, run, on_block)


def _restore(
    path: Path, program: Program, world: AnyWorld, replicas: Replicas, ids: list[str]
) -> tuple[int, Done, State, Records]:
    """The stage number, earlier parameters, state and records of a checkpoint. TransferError where it is another run's."""
    facts = checkpoint.load_facts(path)
    if facts.get("ids") != ids:
        raise TransferError(f"{path} belongs to a run with another configuration; give resume=false or another folder")
    number: int = facts["stage"]
    done: dict[str, Any] = {}
    for stage in program.stages[:number]:
        done[stage.name] = parameter_shapes(stage, world, done, replicas)
    state = _shapes(start, program.stages[number], world, done, replicas)
    tree = checkpoint.load_tree(path, {"done": done, "state": state})
    tree = jax.tree.map(jax.numpy.asarray, tree)
    console.print(f"resuming stage {program.stages[number].name} after step {int(tree['state'].step.max()):,}")
    return number, tree["done"], tree["state"], facts["records"]


def parameter_shapes(stage: Fit | Solve, world: AnyWorld, done: Done, replicas: Replicas) -> Any:
    """Shapes of a stage's parameters with their leading replica axis, without computing them."""
    if isinstance(stage, Fit):
        return _shapes(start, stage, world, done, replicas).params
    return _shapes(solve, stage, world, done, replicas)


def _shapes(function: Any, stage: Fit | Solve, world: AnyWorld, done: Done, replicas: Replicas) -> Any:
    def trace(name: str, one: Callable[..., Any], shared: Any, each: Any) -> Any:
        return over_replicas(one, "map")(shared, each)

    return jax.eval_shape(lambda w, d, r: function(stage, w, d, r, trace), world, done, replicas)


def selected(records: list[dict[str, Any]], task: Task) -> dict[str, dict[str, Any]]:
    """The best evaluation of each gradient stage of one replica: the one whose parameters were kept."""
    best: dict[str, dict[str, Any]] = {}
    for record in records:
        score = task.sign * record[task.select]
        if _finite(record, task) and (
            record["stage"] not in best or score > task.sign * best[record["stage"]][task.select]
        ):
            best[record["stage"]] = record
    return best


def diverged(records: list[dict[str, Any]], task: Task) -> bool:
    """Whether a stage of this replica met a loss or a metric that is not finite."""
    return not all(_finite(record, task) for record in records)


def _finite(record: dict[str, Any], task: Task) -> bool:
    return all(isinstance(record[key], float) and math.isfinite(record[key]) for key in ("loss", task.select))

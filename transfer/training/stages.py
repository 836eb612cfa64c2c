"""Run the stages of a program in order, over all replicas, with a checkpoint after every block."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer.config.schema import Train
from transfer.console import Interrupted, Progress, console, interrupted
from transfer.errors import TransferError
from transfer.program import AnyWorld, Done, Fit, Params, Program, Replicas, Solve, Task
from transfer.storage import trees
from transfer.storage.damaged import reading
from transfer.training import devices, reuse
from transfer.training.compiler import Compiler
from transfer.training.loop import State, draw_batch, identity, solve, solving, start, train_stage
from transfer.training.processes import everywhere, of_first, together, told
from transfer.training.rows import Moments

RARELY = 20  # checkpoints may take a twentieth of the time of training, whatever their size

Records = list[list[dict[str, Any]]]  # per replica, one object per evaluation


@dataclass(frozen=True)
class Job:
    """What all stages of a program have in common.

    ids, seeds: of the replicas. path: where the checkpoint lies while this runs, at most one every
    `train.checkpoint_seconds` and seldom where it is slow to write; None writes none, but of several processes, of which
    the first has it, all take part. reuse: folder of stages that were
    fitted before; None fits every stage.
    alone: not part of a sweep, where another run's checkpoint in the folder may be overwritten.
    watch: is told every record of a replica as it comes, with its number.
    spent: seconds of training by stage, one number per replica; added to.
    """

    task: Task
    world: AnyWorld
    fingerprint: str
    replicas: Replicas
    ids: list[str]
    seeds: list[int]
    train: Train
    run: Compiler
    path: Path | None = None
    reuse: Path | None = None
    alone: bool = True
    watch: Callable[[int, dict[str, Any]], None] | None = None
    spent: dict[str, np.ndarray] = field(default_factory=dict)


def run_stages(program: Program, job: Job, resume: bool = False) -> tuple[Done, Records]:
    """Fit or solve every stage: (parameters by stage with a leading replica axis, records).

    resume goes on from the job's checkpoint, with the result of an uninterrupted run. Raises Interrupted, after saving,
    when a stop was asked for.
    """
    check_tables(program, job)
    check_shares(program, job)
    done: Done = {}
    records: Records = [[] for _ in job.ids]
    every_row = list(range(len(job.ids)))
    first, rows, state = 0, list[int](), None
    if resume and _checkpoint_there(job):
        first, done, rows, state, records = _restore(program, job)
    for number, stage in enumerate(program.stages):
        if number < first:
            continue
        if not isinstance(stage, Fit):
            done = {**done, stage.name: solve(stage, job.world, done, job.replicas, job.run)}
            continue
        if job.reuse and number + 1 < len(program.stages):
            params = _shared(number, stage, job, job.reuse, done, records, rows, state)
        else:
            params = _train(number, stage, job, every_row, (done, job.replicas), done, records, state)
        done, rows, state = {**done, stage.name: params}, [], None
    return done, records


def check_tables(program: Program, job: Job) -> None:
    """Raise TransferError where train.tables asks for updates by rows and no stage has a table for them."""
    fits, shapes = [stage for stage in program.stages if isinstance(stage, Fit)], dict[str, Any]()
    if job.train.tables in ("auto", "dense") or not fits:
        return
    for stage in program.stages:
        if isinstance(stage, Fit):
            state = start(stage, job.train, job.world, shapes, job.replicas, job.run.shapes)
            if any(isinstance(moments, Moments) for moments in state.optimizer):
                return
        shapes[stage.name] = parameter_shapes(stage, job.train, job.world, shapes, job.replicas, job.run)
    raise TransferError(
        f"train.tables={job.train.tables} has no effect: no stage reads a table by a few of its rows alone, with "
        "adam or sgd and one loss (task.loss=full_softmax reads all items); write train.tables=auto"
    )


def check_shares(program: Program, job: Job) -> None:
    """Raise TransferError where train.shard divides nothing that a stage learns from (batch) or learns (tables)."""
    devices.check(job.train, len(job.ids), job.alone)
    what, count, shapes = devices.divided(job.train), jax.device_count(), dict[str, Any]()
    if what == "replicas":
        return
    tables, batches = list[Any](), list[Any]()
    for stage in program.stages:
        if isinstance(stage, Fit):
            one, (key, _) = jax.eval_shape(partial(jax.tree.map, lambda leaf: leaf[0]), (shapes, job.replicas))
            drawn = jax.eval_shape(partial(draw_batch, stage), job.world, one, key, jnp.int32(0))
            batches.extend(leaf for leaf in jax.tree.leaves(drawn) if devices.divides(leaf.shape))
        shapes[stage.name] = parameter_shapes(stage, job.train, job.world, shapes, job.replicas, job.run)
        tables.extend(leaf for leaf in jax.tree.leaves(shapes[stage.name]) if devices.along(leaf.shape) is not None)
    if what == "batch" and not batches:
        raise TransferError(
            f"train.shard=batch has no effect: no stage learns from batches that {count} devices can divide; write a "
            f"train.batch_size that is a multiple of {count}, or train.shard=auto"
        )
    if what == "tables" and not tables:
        raise TransferError(
            f"train.shard=tables has no effect: no table has rows or columns that {count} devices can divide"
        )


def _rows(seen: tuple[Done, Replicas], numbers: list[int]) -> tuple[Done, Replicas]:
    """Earlier parameters and replicas of some rows; of all of them as they are."""
    if numbers == list(range(len(seen[1].keys))):
        return seen
    at = jnp.array(numbers)
    return jax.tree.map(lambda leaf: leaf[at], seen)


def _shared(
    number: int, stage: Fit, job: Job, folder: Path, done: Done, records: Records, rows: list[int], state: State | None
) -> Params:
    """Fit a stage on which others build: one replica of every kind, and only where no entry of `folder` has it.

    rows, state: the replicas that a checkpoint had, and how far they were.
    """
    stages, names = reuse.reads(stage, job.task, job.world, done, job.replicas)
    read = {name: done[name] for name in stages}
    hp = {name: job.replicas.hp[name] for name in names}
    as_read = read, Replicas(job.replicas.keys, hp)
    keys = reuse.keys(
        identity(stage, job.task, job.world, *as_read, job.train, job.run), job.fingerprint, job.seeds, read, hp
    )
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
        parameter_shapes(stage, job.train, job.world, *as_read, job.run),
    )
    with reuse.claimed(folder, sorted(set(keys))):
        known = {key: entry for key in set(keys) if (entry := reuse.load(folder, key, shapes))}
        missing = {key: i for i, key in reversed(list(enumerate(keys))) if key not in known}
        chosen = sorted(missing.values())
        if rows != chosen:  # not what the checkpoint had begun
            state = None
            for run in records:
                run[:] = [record for record in run if record["stage"] != stage.name]
        if chosen:
            params = jax.device_get(_train(number, stage, job, chosen, as_read, done, records, state))
            for row, i in enumerate(chosen):
                of_stage = [record for record in records[i] if record["stage"] == stage.name]
                known[keys[i]] = (jax.tree.map(lambda leaf, row=row: leaf[row], params), of_stage)
                reuse.store(folder, keys[i], *known[keys[i]])
    for i, key in enumerate(keys):
        if i not in chosen:
            records[i].extend(known[key][1])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(known[key][0] for key in keys))


def _train(
    number: int,
    stage: Fit,
    job: Job,
    rows: list[int],
    seen: tuple[Done, Replicas],
    done: Done,
    records: Records,
    state: State | None,
) -> Params:
    """One gradient stage of some replicas, with progress bar and checkpoints; appends to their records.

    seen: what it may read of all replicas. done: all earlier parameters, for the checkpoint.
    """
    of_rows = _rows(seen, rows)
    due = time.monotonic() + job.train.checkpoint_seconds

    def on_block(state: State, block: list[dict[str, Any]], step: int, total: int) -> None:
        nonlocal due
        for i, record in zip(rows, block, strict=True):
            records[i].extend([record] if record else [])
            if job.watch and record:
                job.watch(i, record)
        job.spent[stage.name][rows] = seconds
        bar.update(block, step, total)
        stop = bool(everywhere(float(interrupted())).any())
        if everywhere(float(bool(job.path) and (stop or time.monotonic() >= due)))[0]:
            began, spent = time.monotonic(), {name: seconds.tolist() for name, seconds in job.spent.items()}
            facts = {"ids": job.ids, "stage": number, "rows": rows, "records": records, "spent": spent}
            tree = devices.fetched({"done": done, "state": state})
            if job.path:
                trees.save_tree(job.path, tree, facts)
            ended = time.monotonic()
            due = ended + max(job.train.checkpoint_seconds, RARELY * (ended - began))
        if stop:
            raise Interrupted

    seconds = job.spent.setdefault(stage.name, np.zeros(len(job.ids)))[rows]
    if state is None:
        state = start(stage, job.train, job.world, *of_rows, job.run)
        seconds[:] = 0
        if moved_late := sum(len(moments.tables) for moments in state.optimizer if isinstance(moments, Moments)):
            console.print(f"stage {stage.name}: rows of {moved_late} tables move late (train.tables={job.train.tables})")
    with Progress(stage.name, job.task.select, job.train.progress) as bar:
        return train_stage(stage, job.task, job.world, *of_rows, job.train, state, job.run, seconds, on_block).best


def _checkpoint_there(job: Job) -> bool:
    """Whether there is a checkpoint of these replicas, where the process that writes looks."""
    with together("take up its checkpoint"):
        there = bool(job.path and job.path.exists() and _is_ours(job, job.path))
    return bool(everywhere(float(there))[0])


def _is_ours(job: Job, path: Path) -> bool:
    """Whether a checkpoint is of these replicas; TransferError where another one may be precious."""
    ids = trees.load_facts(path).get("ids")
    if ids != job.ids and job.alone:
        raise TransferError(f"{path} belongs to a run with another configuration; give resume=false or another folder")
    return ids == job.ids


def _restore(program: Program, job: Job) -> tuple[int, Done, list[int], State, Records]:
    """Stage number, earlier parameters, rows with their state, and records of a checkpoint."""
    path = job.path or Path("the checkpoint")
    facts = told(trees.load_facts(path) if job.path else None)
    with reading(path, "a checkpoint of this program; give resume=false to start afresh"):
        number: int = facts["stage"]
        done: dict[str, Any] = {}
        resumed: Any  # only gradient stages write checkpoints
        *before, resumed = program.stages[: number + 1]
        for stage in before:
            done[stage.name] = parameter_shapes(stage, job.train, job.world, done, job.replicas, job.run)
        earlier, replicas = jax.eval_shape(lambda done: _rows((done, job.replicas), facts["rows"]), done)
        state = start(resumed, job.train, job.world, earlier, replicas, job.run.shapes)
        tree = {"done": done, "state": state}
        with together("take up its checkpoint"):
            tree = (
                trees.load_tree(path, tree)
                if job.path
                else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
            )
        tree = of_first(tree)
        shard = job.run.shard
        tree = jax.device_put(tree) if shard == "replicas" else devices.placed(tree, shard == "tables")
        job.spent.update({name: np.array(seconds) for name, seconds in facts["spent"].items()})
    console.print(f"resuming stage {resumed.name} after step {int(tree['state'].step.max()):,}")
    return number, tree["done"], facts["rows"], tree["state"], facts["records"]


def parameter_shapes(
    stage: Fit | Solve, train: Train, world: AnyWorld, done: Done, replicas: Replicas, run: Compiler
) -> Any:
    """Shapes of a stage's parameters with their leading replica axis, without computing them."""
    if isinstance(stage, Fit):
        return start(stage, train, world, done, replicas, run.shapes).params
    return run.shapes(*solving(stage), world, (done, replicas))


def selected(records: list[dict[str, Any]], task: Task, train: Train) -> dict[str, dict[str, Any]]:
    """The evaluation of each gradient stage of one replica whose parameters were kept: the best, or the last."""
    best: dict[str, dict[str, Any]] = {}
    for record in records:
        score = task.sign * record[task.select]
        before = best.get(record["stage"])
        if _finite(record, task) and (before is None or train.keep == "last" or score > task.sign * before[task.select]):
            best[record["stage"]] = record
    return best


def diverged(records: list[dict[str, Any]], task: Task) -> bool:
    """Whether a stage of this replica met a loss or a metric that is not finite."""
    return not all(_finite(record, task) for record in records)


def _finite(record: dict[str, Any], task: Task) -> bool:
    return all(isinstance(record[key], float) and math.isfinite(record[key]) for key in ("loss", task.select))

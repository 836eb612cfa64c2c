"""Measure the selected parameters of every replica: metrics, distances of the domains, scores without target labels."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import polars as pl

from transfer.config.schema import Config
from transfer.config.selection import ORACLE
from transfer.data.interactions.world import at_inference
from transfer.evaluate.distance import Distances, measure_distances
from transfer.experiment import unlabelled_selection
from transfer.program import AnyWorld, Done, Program, Replicas, Task
from transfer.training.compiler import Compiler
from transfer.training.stages import Job


@dataclass(frozen=True)
class Measured:
    """Figures of every replica: metrics by part, values by user, distances, selection scores.

    Values by user are those of the test, with test=false those of the validation part; none where neither is there.
    """

    metrics: list[dict[str, dict[str, float]]]
    per_user: list[pl.DataFrame]
    distances: list[Distances]
    selection: list[dict[str, dict[str, float]]]


def measure(config: Config, program: Program, job: Job, done: Done) -> Measured:
    """All figures of the selected parameters; with test=false, while one tunes, the test part stays closed and how far
    apart the domains are is not measured."""
    clock = job.run.clock
    began, compiling = time.perf_counter(), clock["compile"]
    test = config.test or config.select == ORACLE  # it looks at the test labels even while tuning
    metrics, per_user = evaluate(program, job.task, job.world, done, job.replicas, job.run, test)
    distances = measure_distances(program, job.world, done, job.replicas, job.run, compared=config.test)
    spaces = [distance.spaces for distance in distances]
    selection = unlabelled_selection.selection_scores(config, program, done, job, metrics, spaces)
    clock["evaluate"] = time.perf_counter() - began - (clock["compile"] - compiling)
    return Measured(metrics, per_user if test == config.test else [], distances, selection)


def evaluate(
    program: Program, task: Task, world: AnyWorld, done: Done, replicas: Replicas, run: Compiler, test: bool
) -> tuple[list[dict[str, dict[str, float]]], list[pl.DataFrame]]:
    """Metrics of the validation and the test part from the selected parameters, {part: {name: value}} per replica, and
    the test values of every user (or example), one table per replica. Without `test` that part stays closed, and the
    values are those of the validation part."""

    validates = bool(world.valid.n_events)

    def evaluate_row(world: AnyWorld, row: Any) -> tuple[dict[str, dict[str, jax.Array]], dict[str, jax.Array]]:
        done, (_, hp) = row
        scores = program.scores(at_inference(world), done, hp)
        if not test:
            if not validates:
                return {}, {}
            valid, rows = task.examine(scores, world.valid)
            return {"valid": valid}, rows
        means = {"valid": task.evaluate(scores, world.valid, full=True)} if validates else {}
        means["test"], rows = task.examine(scores, world.test)
        return means, rows

    name = "evaluate" if validates else "evaluate the test alone"  # worlds of one shape share what is compiled
    means, rows = jax.device_get(run(name, evaluate_row, world, (done, replicas)))
    count = range(len(replicas.keys))
    hidden = world.test if test else world.valid if validates else None
    index = {} if hidden is None else task.rows(world, hidden)
    real = len(next(iter(index.values()), ()))  # rows beyond them are padding
    tables = [pl.DataFrame({**index, **{k: np.asarray(v[i][:real]) for k, v in rows.items()}}) for i in count if index]
    tables = [table.fill_nan(None) for table in tables]
    return [jax.tree.map(lambda leaf, i=i: float(leaf[i]), means) for i in count], tables

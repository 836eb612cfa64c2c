"""Measure the selected parameters of every replica: metrics, distances of the domains, scores without target labels."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import polars as pl

from transfer.config.schema import Config
from transfer.config.selection import ORACLE
from transfer.data.interactions.events import Heldout
from transfer.data.interactions.folds import stacked
from transfer.data.interactions.world import at_inference
from transfer.evaluate.distance import Distances, measure_distances
from transfer.experiment import unlabelled_selection
from transfer.program import AnyWorld, Done, Program, Replicas, Task
from transfer.training.compiler import Compiler, executables_of, shapes_of
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
    """All figures of the selected parameters; with test=false, while one tunes, the test part stays closed, and neither
    how far apart the domains are nor what lists hold beyond hits is measured."""
    clock = job.run.clock
    began, compiling = time.perf_counter(), clock["compile"]
    test = config.test or config.select == ORACLE  # it looks at the test labels even while tuning
    key = f"measures of {config.task}, {job.run.mode}, {job.run.shard}"
    measures = replace(job.run, executables=executables_of(key, shapes_of(job.world)))
    metrics, per_user = evaluate(program, job.task, job.world, done, job.replicas, job.run, measures, test)
    distances = measure_distances(program, job.world, done, job.replicas, job.run, compared=config.test)
    spaces = [distance.spaces for distance in distances]
    selection = unlabelled_selection.selection_scores(config, program, done, job, metrics, spaces)
    clock["evaluate"] = time.perf_counter() - began - (clock["compile"] - compiling)
    return Measured(metrics, per_user if test == config.test else [], distances, selection)


def evaluate(
    program: Program,
    task: Task,
    world: AnyWorld,
    done: Done,
    replicas: Replicas,
    run: Compiler,
    measures: Compiler,
    test: bool,
) -> tuple[list[dict[str, dict[str, float]]], list[pl.DataFrame]]:
    """Metrics of the validation and the test part from the selected parameters, {part: {name: value}} per replica, and
    the test values of every user (or example), one table per replica. Without `test` that part stays closed, and the
    values are those of the validation part, and all figures those of hits. measures: keeps what all methods of a task
    share on worlds of these shapes."""
    parts: dict[str, Any] = {"valid": world.valid} if world.valid.n_events else {}
    parts |= {"test": world.test} if test else {}
    groups = _of_one_shape(parts)

    def predict_row(given: tuple[AnyWorld, list[Any]], row: Any) -> list[Any]:
        (world, hidden), (done, (_, hp)) = given, row
        scores = program.scores(at_inference(world), done, hp)
        return [jax.lax.map(lambda part: task.predict(scores, part), of) for of in hidden]

    def measure_row(hidden: Any, predicted: Any) -> Any:
        return jax.lax.map(lambda of: task.measure(of[0], of[1], test), (predicted, hidden))

    hidden = list(groups.values())  # parts of one shape share what is compiled, as worlds do
    predicted = run(f"predict {shapes_of(hidden)}", predict_row, (world, hidden), (done, replicas)) if parts else []
    found: dict[str, Any] = {}
    for names, of, said in zip(groups, hidden, predicted, strict=True):
        what = f"measure {'all' if test else 'hits'} of {shapes_of(of)}"
        values = jax.device_get(measures(what, measure_row, of, said))
        found |= {part: jax.tree.map(lambda leaf, i=i: leaf[:, i], values) for i, part in enumerate(names)}
    means = {part: of for part, (of, _) in found.items()}
    count = range(len(replicas.keys))
    last = next(reversed(parts), None)
    index = task.rows(world, parts[last]) if last else {}
    rows = found[last][1] if last else {}
    real = len(next(iter(index.values()), ()))  # rows beyond them are padding
    tables = [pl.DataFrame({**index, **{k: np.asarray(v[i][:real]) for k, v in rows.items()}}) for i in count if index]
    tables = [table.fill_nan(None) for table in tables]
    return [jax.tree.map(lambda leaf, i=i: float(leaf[i]), means) for i in count], tables


def _of_one_shape(parts: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Hidden parts with a leading axis, by their names: as one where they can have one shape, else one by one."""
    one = stacked(list(parts.values())) if all(isinstance(part, Heldout) for part in parts.values()) and parts else None
    if one is not None:
        return {tuple(parts): one}
    return {(name,): jax.tree.map(lambda leaf: leaf[None], part) for name, part in parts.items()}

"""Read this first: a run is prepare -> train -> measure -> write. `run_batch` is the single way in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

from transfer.config.schema import BY_CONTENT, Config
from transfer.console import interruptible
from transfer.data.examples import featurise
from transfer.data.examples.world import LoadedExamples
from transfer.data.interactions.world import Loaded
from transfer.errors import TransferError
from transfer.experiment import directions, unlabelled_selection
from transfer.experiment.build import (
    build_program,
    build_task,
    load_world,
    program_shapes,
    protocol,
    replicas_of,
    uses_source,
    with_batches,
    with_weights,
)
from transfer.experiment.checks import check_numbers, check_settings
from transfer.experiment.measure import Measured, measure
from transfer.experiment.result import Result
from transfer.program import AnyWorld, Done, Program
from transfer.results import run_folder
from transfer.results.describe import count_parameters, describe_program, describe_shares, show_parameters
from transfer.results.predictor import predictor_of
from transfer.results.trackers import copies
from transfer.storage import trees
from transfer.storage.lock import locked
from transfer.training import devices, processes
from transfer.training.accelerator import tell_compiler
from transfer.training.compile_cache import use_compile_cache
from transfer.training.compiler import Clock, Compiler, NoRoom, TooLarge, executables_of, shapes_of, telling_no_room
from transfer.training.stages import Job, Records, diverged, run_stages, selected
from transfer.training.warm_start import show_warm_start, warm_started


def run_batch(
    configs: Sequence[Config],
    folders: Sequence[Path] | None = None,
    *,
    max_batch: int | None = None,
    reuse: Path | None = None,
    memory: float | None = None,
    alone: bool = True,
) -> list[Result]:
    """Run configurations, those of one static part as replicas of one compiled program; results in the given order.

    folders: where each run writes; None writes nothing. max_batch: most replicas of a program; None as many as fit into
    `memory` bytes (None: what is free). reuse: a folder where stages on which others build are kept and found again.
    alone: these are not runs of a sweep, so every run draws its own figure.
    Raises TransferError for what users can mend, and `Interrupted` after Ctrl-C, with a checkpoint behind it.
    """
    tell_compiler()
    use_compile_cache()
    folders = folders if processes.first() else None  # one of several processes writes
    configs = [check_numbers(config) for config in configs]
    groups: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        groups.setdefault(config.program_key(), []).append(i)
    results: dict[int, Result] = {}
    with locked(*(folders or ()) if alone else ()):  # a sweep holds the lock of its own folder
        for members in groups.values():
            parts = _parts(members, max_batch or len(members))
            while parts:
                rows = parts.pop(0)
                of_part = [configs[i] for i in rows]
                places = [run_folder.open_run(folders[i], configs[i], alone) for i in rows] if folders else None
                try:
                    with telling_no_room():
                        ended = _run_program(of_part, places, reuse, memory, alone)
                except (Exception, KeyboardInterrupt) as error:
                    if (fits := _fitting(error, len(rows))) and len(rows) > 1:
                        parts = _parts(rows, fits) + parts
                        continue
                    for config, folder in zip(of_part, places or [], strict=False):
                        run_folder.fail_run(folder, config, error)
                    raise
                if places:  # where an older run was, this one takes its place
                    ended = [
                        replace(result, folder=run_folder.replace_run(place))
                        for result, place in zip(ended, places, strict=True)
                    ]
                results.update(zip(rows, ended, strict=True))
    return [results[i] for i in range(len(configs))]


def _parts(rows: list[int], size: int) -> list[list[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _fitting(error: BaseException, rows: int) -> int | None:
    """How many replicas to try instead, where a program did not fit into memory; None for any other error."""
    if isinstance(error, TooLarge):
        return error.fits
    return -(-rows // 2) if isinstance(error, NoRoom) else None


@dataclass(frozen=True)
class Prepared:
    """What runs of one static part have in common before they train.

    config: the first of `configs`, checked; its static part is that of all. weights: fingerprint of pre-trained weights
    ("": none). begun: what result.json says of `init_from` (None: nothing).
    """

    config: Config
    configs: list[Config]
    folders: list[Path] | None
    loaded: Loaded | LoadedExamples
    program: Program
    job: Job
    weights: str
    begun: dict[str, Any] | None


def _run_program(
    configs: list[Config], folders: list[Path] | None, reuse: Path | None, memory: float | None, alone: bool
) -> list[Result]:
    turned = [
        _run_program([directions.turned(config, place) for config in configs], None, reuse, memory, alone=False)
        for place in directions.others(configs[0])
    ]
    with processes.together("begin"):
        prepared = _prepare(configs, folders, reuse, memory, alone)
    processes.check_same(" ".join(prepared.job.ids), "data or settings")
    with copies.told(configs, folders, alone) as watch:
        prepared = replace(prepared, job=replace(prepared.job, watch=watch))
        done, records = _train(prepared)
        measured, done = measure(prepared.config, prepared.program, prepared.job, done), devices.fetched(done)
        with processes.together("write the results"):
            return _write(prepared, done, records, measured, turned)


def _prepare(
    configs: list[Config], folders: list[Path] | None, reuse: Path | None, memory: float | None, alone: bool
) -> Prepared:
    """Read the world, build the program, and check that they fit."""
    began = time.perf_counter()
    config = check_settings(configs[0])
    directions.check(config)
    loaded, given = with_weights(config, load_world(config))
    begun_by = run_folder.initial_fingerprint(config.init_from)
    content = loaded.fingerprint + given + begun_by
    task = build_task(config, loaded.world)
    unlabelled_selection.check(config, loaded.world)
    program = build_program(config, loaded.world, task)
    loaded = with_batches(config, loaded)
    program, world, begun = warm_started(config, program, loaded.world, run_folder.initial_parameters(config.init_from))
    clock: Clock = {"load": 0.0, "compile": 0.0}
    shard = devices.divided(config.train)
    run = Compiler(config.train.replicas, clock, executables_of(*program_of(config, world)), memory, shard)
    if shard != "replicas":
        world = devices.placed(world)
    clock["load"] = time.perf_counter() - began
    job = Job(
        task=task,
        world=world,
        fingerprint=content,
        replicas=replicas_of(configs),
        ids=[each.run_id(content) for each in configs],
        seeds=[each.seed for each in configs],
        train=config.train,
        run=run,
        path=folders[0] / run_folder.CHECKPOINT if folders else None,
        reuse=reuse,
        alone=alone,
    )
    if alone:
        show_parameters(program, program_shapes(program, job.train, world, job.replicas, run))
        if begun:
            show_warm_start(begun, config)
    facts = {"fingerprint": begun_by, **begun._asdict()} if begun else None
    return Prepared(config, configs, folders, loaded, program, job, given, facts)


def _train(prepared: Prepared) -> tuple[Done, Records]:
    """Run the stages: (parameters by stage with a leading replica axis, records by replica)."""
    job, clock = prepared.job, prepared.job.run.clock
    began = time.perf_counter()
    with interruptible():
        done, records = run_stages(prepared.program, job, prepared.config.resume)
    clock["train"] = time.perf_counter() - began - clock["compile"]
    return done, records


def _write(
    prepared: Prepared, done: Done, records: Records, measured: Measured, turned: list[list[Result]]
) -> list[Result]:
    """The folder of every replica, and its result; turned: results of its other targets."""
    config, loaded, program, job = prepared.config, prepared.loaded, prepared.program, prepared.job
    folders, results = prepared.folders, []
    common = describe_program(
        config,
        loaded,
        job.task,
        protocol(config),
        uses_source(config, loaded.world),
        job.run.clock,
        len(job.ids),
        job.run.peak_memory,
    ) | count_parameters(program, done)
    names = None  # of whom the values are
    if isinstance(loaded, Loaded) and measured.per_user:
        names = pl.Series("id", loaded.users).gather(measured.per_user[0]["user"])
    for i, each in enumerate(prepared.configs):
        parameters = jax.tree.map(lambda leaf, i=i: leaf[i], done)
        facts = _facts(prepared, i, parameters, records[i], measured, common)
        facts |= {"domains": found} if (found := directions.figures(turned, i)) else {}
        values = None if facts["status"] == "diverged" or not measured.per_user else measured.per_user[i]
        if values is not None and names is not None:
            values = values.insert_column(1, names)
        folder = folders[i] if folders else None
        if folder:
            projection = measured.distances[i].projection if measured.distances else None
            part = run_folder.PER_USER if config.test else run_folder.VALID_PER_USER
            tables = {part: values, run_folder.PROJECTION: projection}
            known = {name: table for name, table in tables.items() if table is not None}
            run_folder.close_run(folder, each, facts, records[i], parameters, known, job.alone)
            if isinstance(loaded, LoadedExamples) and loaded.featuriser:
                loaded.featuriser.save(folder / featurise.FILE, job.alone)
        predictor = predictor_of(loaded, program, parameters, each.hp)
        kept = values if config.test else None
        results.append(Result(each, facts, parameters, predictor, folder, kept, tuple(records[i])))
    run_folder.finish_runs(folders or [], [result.facts for result in results][: len(folders or [])], job.alone)
    return results


def _facts(
    prepared: Prepared, i: int, parameters: Done, records: list[dict[str, Any]], measured: Measured, common: dict[str, Any]
) -> dict[str, Any]:
    """The content of result.json of replica i. common: what it says of all replicas alike."""
    job, config, metrics = prepared.job, prepared.configs[i], measured.metrics[i]
    distance = measured.distances[i].distance if measured.distances else {}
    # scores that are not a number have an accuracy too: that of the first class
    lost = diverged(records, job.task) or any(np.isnan(leaf).any() for leaf in jax.tree.leaves(parameters))
    lost = lost or not all(np.isfinite(values[job.task.select]) for values in metrics.values())
    return {
        "status": "diverged" if lost else "done",
        "metrics": {part: {} if lost else values for part, values in metrics.items() if part == "valid" or config.test},
        **({} if lost else measured.selection[i]),
        "id": job.ids[i],
        "identity": config.identity(),
        "seed": config.seed,
        **common,
        **({"weights": prepared.weights} if prepared.weights else {}),
        **({"begun": prepared.begun} if prepared.begun else {}),
        **describe_shares(config, prepared.loaded, parameters),
        "seconds_by_stage": {name: round(float(seconds[i]), 4) for name, seconds in job.spent.items()},
        "selected": selected(records, job.task, job.train),
        **({"distance": distance} if distance else {}),
    }


def program_of(config: Config, world: AnyWorld) -> tuple[str, str]:
    """What decides what is compiled: the static part but for where the world comes from and whether it is tested, and the
    shapes of its arrays."""
    return config.program_key(without=(*BY_CONTENT, "test")), shapes_of(world)


def load_run(folder: Path) -> Result:
    """A finished run from its folder and the data. Raises TransferError where the folder or the data do not fit."""
    config, facts = run_folder.read_run(folder)
    config = check_settings(config)
    by_itself = config.split.model_copy(update={"folds": None}) if config.split.of_all else config.split
    loaded = load_world(config.model_copy(update={"split": by_itself}))
    if loaded.fingerprint != facts["fingerprint"]:
        raise TransferError(
            f"{folder}: the data in {config.data_dir} is not what this run was trained on (fingerprints differ)"
        )
    if (kept := folder / featurise.FILE).exists() and isinstance(loaded, LoadedExamples):
        loaded = replace(loaded, featuriser=featurise.read_featuriser(kept))
    loaded, _ = with_weights(config, loaded)
    task = build_task(config, loaded.world)
    program = build_program(config, loaded.world, task)
    shapes = program_shapes(program, config.train, loaded.world, replicas_of([config]), Compiler("map", {}, {}))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes)
    parameters = trees.load_tree(run_folder.parameters_of(folder), shapes)
    predictor = predictor_of(loaded, program, parameters, config.hp)
    values, records = run_folder.read_values(folder), run_folder.read_records(folder)
    return Result(config, facts, parameters, predictor, folder, values, records)

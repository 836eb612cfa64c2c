"""Read this first: world -> program -> fit the stages -> evaluate -> write the runs. `run_batch` is the single way in."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from transfer.config.schema import Config
from transfer.config.selection import ORACLE, score
from transfer.console import interruptible
from transfer.data.examples import featurise
from transfer.data.examples.world import LoadedExamples
from transfer.data.interactions.world import at_inference
from transfer.errors import TransferError
from transfer.evaluate.distance import measure_distances
from transfer.experiment import unlabelled_selection
from transfer.experiment.build import build_program, build_task, load_world, protocol, uses_source, with_weights
from transfer.experiment.checks import check_settings
from transfer.program import AnyWorld, Done, Program, Replicas, Task
from transfer.results import run_folder
from transfer.results.describe import count_parameters, describe_guard, describe_program, show_parameters
from transfer.results.predictor import LabelPredictor, Predictor, predictor_of
from transfer.storage import trees
from transfer.storage.lock import locked
from transfer.training.compiler import Clock, Compiler, TooLarge
from transfer.training.stages import Job, diverged, parameter_shapes, run_stages, selected
from transfer.training.warm_start import show_warm_start, warm_started


@dataclass(frozen=True)
class Result:
    """What a run leaves in memory; `facts` is the content of result.json."""

    config: Config
    facts: dict[str, Any]
    parameters: Done
    predictor: Predictor | LabelPredictor
    folder: Path | None
    per_user: pl.DataFrame | None = None  # test values by user (or example); None for a run that diverged

    @property
    def status(self) -> str:
        return self.facts["status"]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        return self.facts["metrics"]

    @property
    def objective(self) -> float:
        """What a sweeper maximises: by default the validation metric `task.select`, an error negated; NaN if diverged."""
        return score(self.facts)


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
    _use_compilation_cache()
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
    out_of_memory = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return -(-rows // 2) if out_of_memory else None


def _run_program(
    configs: list[Config], folders: list[Path] | None, reuse: Path | None, memory: float | None, alone: bool
) -> list[Result]:
    clock: Clock = {"load": 0.0, "compile": 0.0}
    began = time.perf_counter()
    config = check_settings(configs[0])
    loaded, given = with_weights(config, load_world(config))
    begun_by = run_folder.initial_fingerprint(config.init_from)
    content = loaded.fingerprint + given + begun_by
    task = build_task(config, loaded.world)
    unlabelled_selection.check(config, loaded.world)
    program = build_program(config, loaded.world, task)
    program, world, begun = warm_started(config, program, loaded.world, run_folder.initial_parameters(config.init_from))
    run = Compiler(config.train.replicas, clock, _programs(*_program_of(config, world, content)), memory)
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
        show_parameters(program, program_shapes(program, world, job.replicas))
        if begun:
            show_warm_start(begun, config)
    began = time.perf_counter()
    with interruptible():
        done, records = run_stages(program, job, config.resume)
    clock["train"] = time.perf_counter() - began - clock["compile"]

    began, compiling = time.perf_counter(), clock["compile"]
    oracle = config.select == ORACLE  # it looks at the test labels even while tuning
    metrics, rows = evaluate(program, task, world, done, job.replicas, run, config.test or oracle)
    apart = measure_distances(program, world, done, job.replicas, run)
    chosen = unlabelled_selection.scores_of(config, program, done, job, metrics, [of.spaces for of in apart])
    clock["evaluate"] = time.perf_counter() - began - (clock["compile"] - compiling)

    results = []
    hosts = jax.device_get(done)
    common = describe_program(
        config, loaded, task, protocol(config), uses_source(config, loaded.world), clock, len(configs)
    ) | count_parameters(program, done)
    for i, each in enumerate(configs):
        parameters = jax.tree.map(lambda leaf, i=i: leaf[i], hosts)
        # scores that are not a number have an accuracy too: that of the first class
        lost = diverged(records[i], task) or any(np.isnan(leaf).any() for leaf in jax.tree.leaves(parameters))
        lost = lost or not all(np.isfinite(m[task.select]) for m in metrics[i].values())
        facts = {
            "status": "diverged" if lost else "done",
            "metrics": {
                part: {} if lost else values for part, values in metrics[i].items() if part == "valid" or config.test
            },
            **({} if lost else chosen[i]),
            "id": job.ids[i],
            "identity": each.identity(),
            "seed": each.seed,
            **common,
            **({"weights": given} if given else {}),
            **({"begun": {"fingerprint": begun_by, **begun._asdict()}} if begun else {}),
            **describe_guard(each, loaded, parameters),
            "seconds_by_stage": {name: round(float(seconds[i]), 4) for name, seconds in job.spent.items()},
            "selected": selected(records[i], task, config.train),
            **({"distance": apart[i].distance} if apart and apart[i].distance else {}),
        }
        per_user = None if lost or not rows or not config.test else rows[i]
        folder = folders[i] if folders else None
        if folder:
            tables = {run_folder.PER_USER: per_user, run_folder.PROJECTION: apart[i].projection if apart else None}
            known = {name: table for name, table in tables.items() if table is not None}
            run_folder.close_run(folder, each, facts, records[i], parameters, known, alone)
            if isinstance(loaded, LoadedExamples) and loaded.featuriser:
                loaded.featuriser.save(folder / featurise.FILE, alone)
        predictor = predictor_of(loaded, program, parameters, each.hp)
        results.append(Result(each, facts, parameters, predictor, folder, per_user))
    run_folder.finish_runs(folders or [], [result.facts for result in results][: len(folders or [])], alone)
    return results


def _program_of(config: Config, world: AnyWorld, content: str) -> tuple[str, str]:
    """What decides what is compiled: the static part and the content of the world; or, for worlds that have a capacity so
    that they share programs, its shapes in place of what made it."""
    if not getattr(config.domain, "capacity", None):
        return config.program_key(), content
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(world)]
    return config.program_key(without=("domain", "split")), str((jax.tree.structure(world), shapes))


@lru_cache(maxsize=8)
def _programs(key: str, world: str) -> dict[Any, Any]:
    """What was compiled for a program on a world in this process, so that runs that differ in numbers compile nothing."""
    return {}


def evaluate(
    program: Program, task: Task, world: AnyWorld, done: Done, replicas: Replicas, run: Compiler, test: bool
) -> tuple[list[dict[str, dict[str, float]]], list[pl.DataFrame]]:
    """Metrics of the validation and the test part from the selected parameters, {part: {name: value}} per replica, and
    the test values of every user (or example), one table per replica; without `test` that part stays closed."""

    validates = bool(world.valid.n_events)

    def one(world: AnyWorld, each: Any) -> tuple[dict[str, dict[str, jax.Array]], dict[str, jax.Array]]:
        done, (_, hp) = each
        scores = program.scores(at_inference(world), done, hp)
        means = {"valid": task.evaluate(scores, world.valid, full=True)} if validates else {}
        if not test:
            return means, {}
        means["test"], rows = task.examine(scores, world.test)
        return means, rows

    means, rows = jax.device_get(run("evaluate", one, world, (done, replicas)))
    count = range(len(replicas.keys))
    index = task.rows(world) if test else {}
    real = len(next(iter(index.values()), ()))  # rows beyond them are padding
    tables = [pl.DataFrame({**index, **{k: np.asarray(v[i][:real]) for k, v in rows.items()}}) for i in count if test]
    return [jax.tree.map(lambda leaf, i=i: float(leaf[i]), means) for i in count], tables


def load_run(folder: Path) -> Result:
    """A finished run from its folder and the data. Raises TransferError where the folder or the data do not fit."""
    config, facts = run_folder.read_run(folder)
    config = check_settings(config)
    loaded = load_world(config)
    if loaded.fingerprint != facts["fingerprint"]:
        raise TransferError(
            f"{folder}: the data in {config.data_dir} is not what this run was trained on (fingerprints differ)"
        )
    if (kept := folder / featurise.FILE).exists() and isinstance(loaded, LoadedExamples):
        loaded = replace(loaded, featuriser=featurise.read_featuriser(kept))
    loaded, _ = with_weights(config, loaded)
    task = build_task(config, loaded.world)
    program = build_program(config, loaded.world, task)
    shapes = program_shapes(program, loaded.world, replicas_of([config]))
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes)
    parameters = trees.load_tree(run_folder.parameters_of(folder), one)
    return Result(config, facts, parameters, predictor_of(loaded, program, parameters, config.hp), folder)


def program_shapes(program: Program, world: AnyWorld, replicas: Replicas) -> Done:
    """Shapes of all parameters of a program with their leading replica axis, without computing them."""
    shapes: dict[str, Any] = {}
    for stage in program.stages:
        shapes[stage.name] = parameter_shapes(stage, world, shapes, replicas)
    return shapes


def replicas_of(configs: list[Config]) -> Replicas:
    """The traced part of configurations with one static part."""
    keys = jax.vmap(jax.random.key)(jnp.array([config.seed for config in configs], jnp.uint32))
    hp = {name: jnp.array([config.hp[name] for config in configs], jnp.float32) for name in configs[0].hp}
    return Replicas(keys, hp)


def _use_compilation_cache() -> None:
    """Keep compiled programs in the user's own cache folder (mode 700: whatever lies there is run)."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transfer" / "xla"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

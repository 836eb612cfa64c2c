"""Read this first: world -> program -> fit the stages -> evaluate -> write the runs. `run_batch` is the single way in."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer import checkpoint, track
from transfer.compiler import Clock, Compiler, Replicas
from transfer.config import Config
from transfer.data.examples import ExamplesWorld, Inputs, LoadedExamples
from transfer.data.load import load_world
from transfer.data.world import Loaded
from transfer.errors import TransferError
from transfer.evaluate.distance import distances, samples
from transfer.predictor import LabelPredictor, Predictor, predictor_of
from transfer.program import AnyWorld, Done, Program, Task
from transfer.progress import Interrupted, interruptible
from transfer.registry import build_program, build_task, check_settings, protocol
from transfer.stages import diverged, parameter_shapes, run_stages, selected


@dataclass(frozen=True)
class Result:
    """What a run leaves in memory; `facts` is the content of result.json."""

    config: Config
    facts: dict[str, Any]
    parameters: Done
    predictor: Predictor | LabelPredictor
    folder: Path | None

    @property
    def status(self) -> str:
        return self.facts["status"]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        return self.facts["metrics"]

    @property
    def objective(self) -> float:
        """The validation metric that is selected on: what a sweeper optimises (NaN for a diverged run)."""
        return self.metrics["valid"].get(self.facts["select"]["metric"], float("nan"))


def run_batch(configs: Sequence[Config], folders: Sequence[Path] | None = None) -> list[Result]:
    """Run configurations, those of one static part as replicas of one compiled program; results in the given order.

    folders: where each run writes; None writes nothing. Raises TransferError for what users can mend, and `Interrupted`
    after Ctrl-C, with a checkpoint behind it.
    """
    _use_compilation_cache()
    groups: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        groups.setdefault(config.program_key(), []).append(i)
    results: dict[int, Result] = {}
    for rows in groups.values():
        of_group = [configs[i] for i in rows]
        places = [folders[i] for i in rows] if folders else None
        for config, folder in zip(of_group, places or [], strict=False):
            track.open_run(folder, config)
        try:
            results.update(zip(rows, _run_program(of_group, places), strict=True))
        except (Exception, Interrupted) as error:
            for config, folder in zip(of_group, places or [], strict=False):
                track.fail_run(folder, config, error)
            raise
    return [results[i] for i in range(len(configs))]


def _run_program(configs: list[Config], folders: list[Path] | None) -> list[Result]:
    clock: Clock = {"load": 0.0, "compile": 0.0}
    began = time.perf_counter()
    config = check_settings(configs[0])
    loaded = load_world(config)
    task = build_task(config, loaded.world)
    program = build_program(config, loaded.world, task)
    run = Compiler(config.train.replicas, clock, _programs(config.program_key(), loaded.fingerprint))
    clock["load"] = time.perf_counter() - began
    ids = [each.run_id(loaded.fingerprint) for each in configs]
    replicas = replicas_of(configs)

    began = time.perf_counter()
    path = folders[0] / track.CHECKPOINT if folders else None
    with interruptible():
        done, records = run_stages(
            program, task, loaded.world, replicas, config.train, run, ids=ids, path=path, resume=config.resume
        )
    clock["train"] = time.perf_counter() - began - clock["compile"]

    began, compiling = time.perf_counter(), clock["compile"]
    metrics = evaluate(program, task, loaded.world, done, replicas, run)
    apart = measure_distances(program, loaded.world, done, replicas, run)
    clock["evaluate"] = time.perf_counter() - began - (clock["compile"] - compiling)

    results = []
    for i, each in enumerate(configs):
        lost = diverged(records[i], task) or not all(np.isfinite(m[task.select]) for m in metrics[i].values())
        facts = {
            "status": "diverged" if lost else "done",
            "metrics": {part: {} if lost else values for part, values in metrics[i].items()},
            **describe_run(each, ids[i], loaded, task, clock, len(configs)),
            "selected": selected(records[i], task),
            **({"distance": apart[i]} if apart else {}),
        }
        parameters = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), done)
        folder = folders[i] if folders else None
        if folder:
            track.close_run(folder, each, facts, records[i], parameters)
        results.append(Result(each, facts, parameters, predictor_of(loaded, program, parameters, each.hp), folder))
    return results


@lru_cache(maxsize=8)
def _programs(key: str, fingerprint: str) -> dict[Any, Any]:
    """What was compiled for a program on a world in this process, so that runs that differ in numbers compile nothing."""
    return {}


def evaluate(
    program: Program, task: Task, world: AnyWorld, done: Done, replicas: Replicas, run: Compiler
) -> list[dict[str, dict[str, float]]]:
    """Metrics of the validation and the test part, from the selected parameters: one {part: {name: value}} per replica."""

    def one(world: AnyWorld, each: Any) -> dict[str, dict[str, jax.Array]]:
        done, (_, hp) = each
        parts = {"valid": world.valid, "test": world.test}
        scores = program.scores(world, done, hp)
        return {name: task.evaluate(scores, part, full=True) for name, part in parts.items() if part.n_events}

    values = jax.device_get(run("evaluate", one, world, (done, replicas)))
    return [jax.tree.map(lambda leaf, i=i: float(leaf[i]), values) for i in range(len(replicas.keys))]


def measure_distances(
    program: Program, world: AnyWorld, done: Done, replicas: Replicas, run: Compiler
) -> list[dict[str, dict[str, float]]]:
    """How far apart source and target are `before` and `after` the map, per replica; none for interactions or no source."""
    if not isinstance(world, ExamplesWorld) or not world.sources:
        return []
    raw = [np.asarray(x).reshape(x.shape[0], -1) for x in samples(world)]
    before = distances(*raw)
    if program.features is None:
        return [{"before": before}] * len(replicas.keys)

    def mapped(world: ExamplesWorld, each: Any) -> list[jax.Array]:
        done, (_, hp) = each
        of = program.features(world, done, hp)  # type: ignore[misc]
        pairs = zip(samples(world), (1, 0), strict=True)
        return [of(Inputs(x, jnp.full(x.shape[0], domain, jnp.int32))) for x, domain in pairs]

    spaces = [np.asarray(z) for z in run("features", mapped, world, (done, replicas))]
    return [{"before": before, "after": distances(*(z[i] for z in spaces))} for i in range(len(replicas.keys))]


def describe_run(
    config: Config, run_id: str, loaded: Loaded | LoadedExamples, task: Task, clock: Clock, replicas: int
) -> dict[str, Any]:
    """What result.json says beside status and metrics: names, protocol, counts, seconds, versions, device, data."""
    device = jax.devices()[0]
    return {
        "id": run_id,
        "domain": config.domain.name,
        "task": config.task.name,
        "method": config.method.name,
        "model": config.model.name,
        "seed": config.seed,
        "split_seed": config.split.seed,
        "select": {"metric": task.select, "sign": task.sign, "on": "valid"},
        "protocol": {
            "split": config.split.model_dump(mode="json", exclude_none=True),
            **protocol(config),
            **({"core": core} if (core := getattr(config.domain, "core", None)) is not None else {}),
        },
        "world": loaded.summary,
        "fingerprint": loaded.fingerprint,
        "seconds": {name: round(value, 4) for name, value in clock.items()},
        "replicas": replicas,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {name: version(name) for name in ("transfer", "jax", "flax", "optax", "hydra-core", "polars")},
        "python": platform.python_version(),
        "device": f"{device.platform}:{device.device_kind}",
    }


def load_run(folder: Path) -> Result:
    """A finished run from its folder and the data. Raises TransferError where the folder or the data do not fit."""
    config, facts = track.read_run(folder)
    config = check_settings(config)
    loaded = load_world(config)
    if loaded.fingerprint != facts["fingerprint"]:
        raise TransferError(
            f"{folder}: the data in {config.data_dir} is not what this run was trained on (fingerprints differ)"
        )
    task = build_task(config, loaded.world)
    program = build_program(config, loaded.world, task)
    shapes: dict[str, Any] = {}
    for stage in program.stages:
        shapes[stage.name] = parameter_shapes(stage, loaded.world, shapes, replicas_of([config]))
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes)
    parameters = checkpoint.load_tree(folder / track.PARAMETERS, one)
    return Result(config, facts, parameters, predictor_of(loaded, program, parameters, config.hp), folder)


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
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

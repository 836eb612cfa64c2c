"""Where programs run: in this process, in processes (joblib), on a Ray cluster, or as SLURM jobs (submitit).

A program is a plain JSON object and leaves its results in its run folders, so an engine only has to say when it has ended.
One whose worker died is run again once; what it then has not left is marked failed by the caller. Interrupted, which a
stop raises at any moment, ends the programs that an engine has begun.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transfer.config.schema import Config, Engine
from transfer.console import stoppable
from transfer.errors import missing
from transfer.sweep import worker
from transfer.sweep.plan import Job

Work = dict[str, Any]
Run = Callable[[Work], None]
POLL = 0.5  # seconds between two looks at a queue


def work(chunk: list[Job], engine: Engine, workers: int, reuse: Path | None) -> Work:
    """A program as plain JSON values."""
    configs = [job.config.model_dump(mode="json") for job in chunk if job.config]
    return {
        "configs": configs,
        "folders": [str(job.folder) for job in chunk],
        "max_batch": engine.max_batch,
        "reuse": str(reuse) if reuse else None,
        "share": workers,  # programs that share this machine's memory
    }


def run_work(work: Work) -> None:
    """Run one program; every run folder then has a result.json, also where it failed. Raises only Interrupted."""
    from transfer.experiment import run_batch
    from transfer.training.accelerator import tell_compiler
    from transfer.training.device_memory import free_memory

    configs = [Config.model_validate(config) for config in work["configs"]]
    folders = [Path(folder) for folder in work["folders"]]
    reuse = Path(work["reuse"]) if work["reuse"] else None
    with stoppable(), contextlib.suppress(Exception):  # the folders say `failed` and why, and the other programs go on
        tell_compiler()  # to ask for the memory starts the backend
        memory = free_memory() / work["share"]
        run_batch(configs, folders, max_batch=work["max_batch"], reuse=reuse, memory=memory, alone=False)


def run_all(works: list[Work], engine: Engine, workers: int, folder: Path, run: Run = run_work) -> Iterator[int]:
    """Run all programs and yield the number of each as it ends; `folder` is the sweep's, for an engine's own files."""
    yield from ENGINES[engine.name](works, engine, workers, folder, run)


def workers_of(engine: Engine) -> int:
    """How many programs run at the same time on this machine."""
    if engine.name == "joblib":
        import joblib

        return engine.workers or joblib.cpu_count()
    return engine.workers or 1


def _inprocess(works: list[Work], engine: Engine, workers: int, folder: Path, run: Run) -> Iterator[int]:
    for i, each in enumerate(works):
        run(each)
        yield i


def _joblib(works: list[Work], engine: Engine, workers: int, folder: Path, run: Run) -> Iterator[int]:
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    left = set(range(len(works)))
    # loky replaces a worker that has grown, as every compilation makes it do
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    with worker.pool(workers) as executor:
        begun = {executor.submit(worker.work, run, works[i]): i for i in sorted(left)}
        for ended in as_completed(begun):
            if isinstance(ended.exception(), BrokenProcessPool):
                break
            left.discard(begun[ended])
            yield begun[ended]
    for i in sorted(left):  # one worker died and took the pool along: each on its own, so that only the culprit fails
        for _ in range(2):
            with worker.pool(1) as executor:
                if executor.submit(worker.work, run, works[i]).exception() is None:
                    break
        yield i


def _ray(works: list[Work], engine: Engine, workers: int, folder: Path, run: Run) -> Iterator[int]:
    ray = _imported("ray", "ray")
    started = not ray.is_initialized()
    if started:
        ray.init(**(engine.options.get("init") or {}))
    try:
        remote = ray.remote(max_retries=1, **(engine.options.get("remote") or {}))(run)
        waiting = dict(enumerate(works))
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < (engine.workers or len(works)):
                i = min(waiting)
                running[remote.remote(waiting.pop(i))] = i
            for ended in ray.wait(list(running), timeout=POLL)[0]:
                with contextlib.suppress(ray.exceptions.RayError):  # died twice: its runs have no result
                    ray.get(ended)
                yield running.pop(ended)
    finally:
        if started:
            ray.shutdown()


def _submitit(works: list[Work], engine: Engine, workers: int, folder: Path, run: Run) -> Iterator[int]:
    submitit = _imported("submitit", "slurm")
    settings = dict(engine.options)
    executor = submitit.AutoExecutor(folder / ".submitit", cluster=settings.pop("cluster", "slurm"))
    if engine.workers and executor.cluster == "slurm":
        settings.setdefault("slurm_array_parallelism", engine.workers)
    executor.update_parameters(**settings)
    with executor.batch():
        jobs = [executor.submit(run, each) for each in works]
    running, again = dict(enumerate(jobs)), set(range(len(works)))
    try:
        while running:
            for i in [i for i, job in running.items() if job.done()]:
                if running[i].exception() is not None and i in again:
                    again.discard(i)
                    running[i] = executor.submit(run, works[i])
                    continue
                del running[i]
                yield i
            time.sleep(POLL)
    finally:
        for job in running.values():
            job.cancel()


def _imported(name: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise missing(f"engine={extra}", name, extra) from None


ENGINES: dict[str, Callable[[list[Work], Engine, int, Path, Run], Iterator[int]]] = {
    "inprocess": _inprocess,
    "joblib": _joblib,
    "ray": _ray,
    "submitit": _submitit,
}

"""A sweep: plan the jobs, keep the finished ones, run the rest as few programs, give every job what Hydra gives it."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transfer.config.choices import once_per_choice
from transfer.config.schema import Engine, parse_engine
from transfer.console import Interrupted, say, stoppable
from transfer.errors import MachineError
from transfer.results import run_folder
from transfer.results.command import note_failed
from transfer.sweep import engines, finished
from transfer.sweep.hydra_jobs import Reporter
from transfer.sweep.plan import Job, chunks, plan, wrong_choices

STAGES = ".stages"
ROOM = 2**20  # bytes of a disk with which no run could be written


def launch(launcher: Any, overrides: Sequence[Sequence[str]], first: int) -> list[Any]:
    """Run the jobs of a Hydra launcher: a list of JobReturn. A job that fails returns NaN and leaves the others alone.

    Raises SystemExit: 2 before anything runs, where a choice is wrong whatever the others are; 130 after Ctrl-C, once it
    is said what is done and how to go on.
    """
    folder = Path(str(launcher.config.hydra.sweep.dir))
    folder.mkdir(parents=True, exist_ok=True)

    def compose(words: list[str]) -> DictConfig:
        return launcher.hydra_context.config_loader.load_sweep_config(launcher.config, words)

    composed = once_per_choice(compose, {})
    jobs = plan(composed, overrides, first, folder)
    if first == 0 and (lines := wrong_choices(jobs, composed)):
        for line in lines:
            say(f"error: {line}", style="red")
        sys.exit(2)
    try:
        with stoppable():
            run_jobs(jobs, folder)
    except Interrupted:
        _say_how_to_go_on(jobs, folder, launcher.config)
        sys.exit(130)
    reporter = Reporter(launcher)
    return [reporter(job) for job in jobs]


def run_jobs(jobs: list[Job], folder: Path) -> None:
    """Run those jobs that are not finished; afterwards every job's folder has a result.json. Raises Interrupted."""
    done = set[int]()
    settings = next((job.static.composed for job in jobs if "engine" in job.static.composed), None)
    if settings is not None:  # something could be composed
        engine = parse_engine(settings)
        done = finished.settle(jobs, finished.retried(settings))
        if done:
            say(f"{len(done)} of {len(jobs)} runs are there already")
        if left := [job for job in jobs if job.config and job.number not in done]:
            _run(left, engine, folder)
    _fail_the_rest(jobs)
    _count_failures(jobs, done)


def note_words(jobs: list[Job]) -> None:
    """Leave the words of every job in its folder, where Hydra would; reports read them there."""
    for job in jobs:
        place = job.folder / ".hydra"
        place.mkdir(parents=True, exist_ok=True)
        (place / "overrides.yaml").write_text("".join(f"- {json.dumps(word)}\n" for word in job.overrides))


def _count_failures(jobs: list[Job], done: set[int]) -> None:
    """Let the command end with exit code 1 where a run failed, and say what stands in place of a new run that failed."""
    for job in jobs:
        facts = run_folder.read_result(job.folder) if job.number in done else run_folder.last_attempt(job.folder)
        if facts["status"] != "failed":
            continue
        note_failed(job.folder)
        if run_folder.status(job.folder) != "failed":
            say(f"{job.folder} keeps its earlier run, its new one failed: {facts['error']}", style="red")


def _run(jobs: list[Job], engine: Engine, folder: Path) -> None:
    workers = engines.workers_of(engine)
    programs = chunks(jobs, engine.max_batch, workers)
    reuse = folder / STAGES if engine.reuse_stages else None
    works = [engines.work(chunk, engine, min(workers, len(programs)), reuse) for chunk in programs]
    runs, began = 0, time.perf_counter()
    finished.note_data(jobs)
    note_words(jobs)  # trackers name runs by them while they train
    say(f"{len(jobs)} runs in {len(programs)} programs, engine {engine.name}")
    try:
        for i in engines.run_all(works, engine, workers, folder):
            runs += len(programs[i])
            say(f"  {runs:>5} of {len(jobs)} runs, {time.perf_counter() - began:7.1f} s: {_label(programs[i])}")
            if shutil.disk_usage(folder).free < ROOM:
                raise MachineError(f"{folder}: the disk is full; make room, and the same command goes on")
    except Interrupted:
        for job in jobs:  # what its engine could only end
            place = run_folder.place_of(job.folder)
            if job.config and run_folder.status(place) == "unfinished" and (place / run_folder.CONFIG).exists():
                run_folder.fail_run(place, job.config, Interrupted())
        raise


def _label(chunk: list[Job]) -> str:
    config = chunk[0].config
    assert config
    statuses = [run_folder.last_attempt(job.folder)["status"] for job in chunk]
    bad = {name: statuses.count(name) for name in statuses if name != "done"}
    rest = "".join(f", {count} {name}" for name, count in bad.items())
    fold = "" if config.split.fold is None else f", fold {config.split.fold}"
    return f"{config.method.name} on {config.domain.name}, split seed {config.split.seed}{fold}, {len(chunk)} runs{rest}"


def _fail_the_rest(jobs: list[Job]) -> None:
    """A result for every job without one: what could not be composed, and what its worker left behind when it died."""
    for job in jobs:
        status = run_folder.last_attempt(job.folder)["status"]
        if job.config is None:
            run_folder.refuse_run(job.folder, job.error or "", list(job.overrides))
        elif status == "unfinished":
            error = MachineError(
                "it left no result: its process died twice or could not write; look at the machine's memory "
                "(engine.max_batch lowers the need) and at the disk's free space"
            )
            run_folder.fail_run(run_folder.place_of(job.folder), job.config, error)
        elif status == "interrupted":
            raise Interrupted


def _say_how_to_go_on(jobs: list[Job], folder: Path, config: DictConfig) -> None:
    done = sum(finished.is_final(run_folder.read_result(job.folder)) for job in jobs)
    again = command(config) + ("" if "hydra.sweep.dir" in command(config) else f" hydra.sweep.dir={folder}")
    say(f"interrupted: {done} of {len(jobs)} runs are done; to go on: {again}")


def command(config: DictConfig) -> str:
    """The command line of a multirun, without what the user's shell would not need."""
    words = [*config.hydra.overrides.task, *(w for w in config.hydra.overrides.hydra if not w.startswith("hydra.mode="))]
    return shlex.join(["transfer", "-m", *words])

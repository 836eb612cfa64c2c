"""What a grid would run: its programs, the runs in each and those that are there, their memory and time. Nothing is run."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from transfer.config.choices import once_per_choice
from transfer.config.schema import Config, parse_engine
from transfer.console import wide_console
from transfer.errors import TransferError
from transfer.experiment.footprint import footprint
from transfer.results.run_folder import RESULT, read_result
from transfer.storage.memory import GIB
from transfer.sweep import engines, finished
from transfer.sweep.plan import Job, chunks, plan, wrong_choices

PLACES, MOST = ("sweeps", "runs"), 2000  # where earlier runs are looked for, and how many of the newest
SAME = ("domain", "task", "method", "model")


class Past(NamedTuple):
    """The medians of what earlier runs took: seconds of a program beside its runs, and of each run."""

    program: float
    run: float


def dry_run(sweeper: Any, words: list[str]) -> int:
    """List what a sweeper of grids would run of these words; the exit code: 2 where a choice is wrong."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    loader = sweeper.hydra_context.config_loader
    parser = OverridesParser.create(config_loader=loader)
    batches = sweeper.split_arguments(parser.parse_overrides([*sweeper._parse_config(), *words]), None)
    folder = Path(str(sweeper.config.hydra.sweep.dir))
    compose = once_per_choice(lambda job: loader.load_sweep_config(sweeper.config, job), {})
    jobs = plan(compose, [job for batch in batches for job in batch], 0, folder)
    if lines := wrong_choices(jobs, compose):
        for line in lines:
            wide_console().print(f"error: {line}", style="red", markup=False)
        return 2
    engine = parse_engine(next(job.static.composed for job in jobs if job.config))
    there = finished.known(jobs, finished.retried(sweeper.config))
    left = [job for job in jobs if job.config and job.number not in there]
    show(jobs, chunks(left, engine.max_batch, engines.workers_of(engine)), there, folder)
    return 0


def show(jobs: list[Job], programs: list[list[Job]], there: set[int], folder: Path) -> None:
    """Print a row for each program, and what all of them come to."""
    table = Table(box=None, padding=(0, 1), title_justify="left")
    for column in ("program", "runs", "memory, at least", "time, guessed"):
        table.add_column(column, justify="left" if column == "program" else "right")
    past, needs, total, unknown = _past(folder), dict[str, float](), 0.0, 0
    for members in programs:
        config = members[0].config
        assert config
        known = past.get(_kind(config))
        seconds = known.program + len(members) * known.run if known else None
        total, unknown = total + (seconds or 0.0), unknown + (seconds is None)
        table.add_row(Text(_words(members, jobs)), str(len(members)), _memory(config, len(members), needs), _time(seconds))
    console = wide_console()
    console.print(table)
    wrong = sum(job.config is None for job in jobs)
    ended = f", {len(there)} of them there already" if there else ""
    refused = f", {wrong} that cannot run" if wrong else ""
    rest = f"; {unknown} programs have no earlier run of their kind here" if unknown else ""
    console.print(
        f"{len(jobs)} runs{ended}{refused}, the rest in {len(programs)} programs: {_time(total)}{rest}", markup=False
    )
    for line in dict.fromkeys(job.error for job in jobs if job.error):
        console.print(f"cannot run: {line}", style="red", markup=False)
    console.print(f"nothing is run: leave dry_run=true out; run folders: {folder}", soft_wrap=True, markup=False)


def _words(members: list[Job], jobs: list[Job]) -> str:
    """The words that tell a program from the others."""
    common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > len(members) else set()
    of_all = set.intersection(*(set(job.overrides) for job in members)) - common
    return " ".join(word for word in members[0].overrides if word in of_all) or "all runs"


def _memory(config: Config, runs: int, needs: dict[str, float]) -> str:
    """Of the world and the parameters of all runs with their moments; draws of one split are taken to be alike."""
    key = config.model_copy(update={"split": config.split.model_copy(update={"seed": 0})}).program_key()
    if key not in needs:
        try:
            whole, of_run = footprint(config)
        except TransferError:
            return "unknown"
        needs[key], needs[f"{key} run"] = whole, of_run
    size = needs[key] + runs * needs[f"{key} run"]
    return f"{size / GIB:,.1f} GiB" if size > GIB else f"{size / 2**20:,.1f} MiB"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return (
        f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
    )


def _kind(facts: Config | dict[str, Any]) -> tuple[str, ...]:
    """What runs of one kind have in common: domain, task, method, model."""
    if isinstance(facts, Config):
        return tuple(getattr(facts, name).name for name in SAME)
    return tuple(str(facts.get(name)) for name in SAME)


def _past(folder: Path) -> dict[tuple[str, ...], Past]:
    """What the newest earlier runs took, by their kind: in the sweep's own folder, and below sweeps/ and runs/."""
    places = {path.resolve() for place in (str(folder), *PLACES) for path in Path(place).rglob(RESULT)}
    took: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for path in sorted(places, key=lambda path: -path.stat().st_mtime)[:MOST]:
        facts = read_result(path.parent)
        seconds, runs = facts.get("seconds"), facts.get("replicas")
        if facts["status"] == "done" and isinstance(seconds, dict) and isinstance(runs, int):
            own = sum(seconds.get(phase, 0.0) for phase in ("train", "evaluate"))
            took.setdefault(_kind(facts), []).append((seconds.get("load", 0.0) + seconds.get("compile", 0.0), own / runs))
    medians = {kind: [statistics.median(each) for each in zip(*rows, strict=True)] for kind, rows in took.items()}
    return {kind: Past(program, run) for kind, (program, run) in medians.items()}

"""Which runs of a sweep are there already: found by identity, checked against the data, put where the jobs want them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from transfer.config.schema import Config
from transfer.errors import TransferError
from transfer.experiment.build import load_world
from transfer.results import run_folder
from transfer.storage.packaged import MINILM, located
from transfer.sweep.plan import Job

Clock = Callable[..., float]  # places -> when anything in them last changed, in seconds since 1970
FINAL = ("done", "diverged", "failed")


def settle(jobs: list[Job], retry: list[str]) -> set[int]:
    """Numbers of the jobs that need no run: those that ended before, on the same data, and not as one of `retry`.

    Runs keep their folders' numbers only where the command still gives them the same; otherwise they are moved, and copied
    where an earlier batch of this sweep or another of these jobs has them too. An ended run in the way of another job gets
    a number after the last one.
    """
    if not jobs:
        return set()
    parent, first = jobs[0].folder.parent, jobs[0].number
    places: dict[str, list[Path]] = {}
    for facts in _ended_runs(parent):
        places.setdefault(facts["identity"], []).append(facts["folder"])
    last_change = cache(_last_change)
    found = {job.number: job for job in jobs if job.config and _counts(job.config, places, retry, last_change)}
    kept, free = set[int](), {identity: list(paths) for identity, paths in places.items()}
    for number, job in found.items():
        if job.folder in (mine := free[_identity(job)]):
            mine.remove(job.folder)
            kept.add(number)
    aside: dict[int, Path] = {}
    for number, job in found.items():
        if number in kept:
            continue
        movable = [path for path in free[_identity(job)] if int(path.name) >= first]
        aside[number] = parent / f"moving-{number}"
        if movable:
            free[_identity(job)].remove(movable[0])
            movable[0].rename(aside[number])
        else:
            origin = next(path for path in [*places[_identity(job)], *aside.values()] if _holds(path, _identity(job)))
            shutil.copytree(origin, aside[number])
    _make_room(jobs, kept, parent)
    for number, path in aside.items():
        path.rename(parent / str(number))
    return set(found)


def _identity(job: Job) -> str:
    assert job.config
    return job.config.identity()


def _ended_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Results of the ended runs in a sweep's folder, each with its `folder`; what a crash left aside is put back first."""
    for left in folder.glob("moving-*"):
        left.rename(folder / str(_next_number(folder)))
    for path in sorted(folder.glob(f"[0-9]*/{run_folder.RESULT}"), key=lambda path: int(path.parent.name)):
        facts = run_folder.read_result(path.parent)
        if facts.get("status") in FINAL and "identity" in facts:
            yield {**facts, "folder": path.parent}


def _holds(folder: Path, identity: str) -> bool:
    return folder.exists() and _ended(folder) == identity


def _counts(config: Config, places: dict[str, list[Path]], retry: list[str], last_change: Clock) -> bool:
    """Whether what is there of a run will do: as it ended, and on the data of today."""
    if config.identity() not in places:
        return False
    folder = places[config.identity()][0]
    facts = run_folder.read_result(folder)
    return facts["status"] not in retry and same_data(config, facts, folder, last_change)


def same_data(config: Config, facts: dict[str, Any], folder: Path, last_change: Clock) -> bool:
    """Whether the data and parameters that a run began with are what its configuration reads today (a failed one may have
    had none). The data are read only where something of them has changed since."""
    if "fingerprint" not in facts:
        return True
    try:
        if run_folder.initial_fingerprint(config.init_from) != facts.get("begun", {}).get("fingerprint", ""):
            return False
        if _untouched(config, folder, last_change):
            return True
        loaded, names = load_world(config), facts.get("world", {}).get("names")
        return loaded.fingerprint == facts["fingerprint"] and names in (None, loaded.summary.get("names"))
    except TransferError:
        return False


def _untouched(config: Config, folder: Path, last_change: Clock) -> bool:
    """Whether nothing that this run read has changed since it began."""
    note = folder / "config.yaml"
    return note.exists() and last_change(*_reads(config)) < note.stat().st_mtime


def _reads(config: Config) -> tuple[Path, ...]:
    """What a world is made from: this package, the files and folders that the domain or the split names, and for readers
    of examples, which name none, all of the data."""
    data, given = Path(config.data_dir), {*_texts(config.domain.model_dump()), *_texts(config.split.model_dump())}
    named = [located(text) if text == MINILM else data / text for text in sorted(given) if text]
    whole = [data] if config.domain.kind == "examples" else []
    return Path(__file__).parents[1], *whole, *(path for path in named if path.exists())


def _texts(value: Any) -> Iterator[str]:
    """The texts in a nested setting."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _last_change(*places: Path) -> float:
    """When anything in these files and folders last changed, in seconds since 1970; what Python compiles is left out."""
    times = [_changed(place) for place in places]
    for place in places:
        for folder, inside, files in os.walk(place, followlinks=True):
            inside[:] = [name for name in inside if name != "__pycache__"]
            times += [_changed(os.path.join(folder, name)) for name in (*inside, *files)]
    return max(times, default=0.0)


def _changed(path: str | Path) -> float:
    """When a file or what a link names last changed, or came to its place: moved files keep their old mtime."""
    known = [os.lstat(path), *([os.stat(path)] if os.path.exists(path) else [])]
    return max(when for of in known for when in (of.st_mtime, of.st_ctime))


def _make_room(jobs: list[Job], kept: set[int], parent: Path) -> None:
    """Give the ended runs of other commands that stand in the way a number after the last one."""
    for job in jobs:
        own = job.config.identity() if job.config else None
        if job.number not in kept and job.folder.exists() and _ended(job.folder) not in (None, own):
            job.folder.rename(parent / str(max(_next_number(parent), jobs[-1].number + 1)))


def _next_number(folder: Path) -> int:
    return max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=-1) + 1


def _ended(folder: Path) -> str | None:
    """The identity of the ended run in a folder; None where there is none."""
    facts = run_folder.read_result(folder)
    return facts.get("identity") if facts.get("status") in FINAL else None

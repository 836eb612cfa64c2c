"""Which runs of a sweep are there already: found by identity, checked against the data, put where the jobs want them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfer import begin, track
from transfer.config import Config
from transfer.errors import TransferError
from transfer.registry import load_world
from transfer.sweep.plan import Job

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
    found = {job.number: job for job in jobs if job.config and _counts(job.config, places, retry)}
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
    for path in sorted(folder.glob(f"[0-9]*/{track.RESULT}"), key=lambda path: int(path.parent.name)):
        facts = track.read_result(path.parent)
        if facts.get("status") in FINAL and "identity" in facts:
            yield {**facts, "folder": path.parent}


def _holds(folder: Path, identity: str) -> bool:
    return folder.exists() and _ended(folder) == identity


def _counts(config: Config, places: dict[str, list[Path]], retry: list[str]) -> bool:
    """Whether what is there of a run will do: as it ended, and on the data of today."""
    if config.identity() not in places:
        return False
    facts = track.read_result(places[config.identity()][0])
    return facts["status"] not in retry and _same_data(config, facts)


def _same_data(config: Config, facts: dict[str, Any]) -> bool:
    """Whether the data and parameters that a run began with are what its configuration reads today (a failed one may have
    had none)."""
    if "fingerprint" not in facts:
        return True
    try:
        begun = facts.get("begun", {}).get("fingerprint", "")
        return load_world(config).fingerprint == facts["fingerprint"] and begin.fingerprint(config) == begun
    except TransferError:
        return False


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
    facts = track.read_result(folder)
    return facts.get("identity") if facts.get("status") in FINAL else None

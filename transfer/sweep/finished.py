"""Which runs of a sweep are there already: found by identity, checked against the data, put where the jobs want them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transfer import track
from transfer.config import Config
from transfer.data.load import load_world
from transfer.errors import TransferError
from transfer.sweep.plan import Job

FINAL = ("done", "diverged", "failed")


def settle(jobs: list[Job], retry: list[str]) -> set[int]:
    """Numbers of the jobs that need no run: those that ended before, on the same data, and not as one of `retry`.

    Runs keep their folders' numbers only where the command still gives them the same; otherwise they are moved. An ended
    run in the way of another job gets a number after the last one.
    """
    if not jobs:
        return set()
    known = _known(jobs[0].folder.parent)
    wanted = {}
    for job in jobs:
        facts = known.get(job.config.identity()) if job.config else None
        if facts and facts["status"] not in retry and _same_data(job.config, facts):
            wanted[job.number] = Path(facts["folder"])
    _move(jobs, wanted)
    return set(wanted)


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """Results of ended runs in a sweep's folder by identity, each with its `folder`."""
    known = {}
    for path in folder.glob(f"*/{track.RESULT}"):
        facts = json.loads(path.read_text())
        if facts.get("status") in FINAL and "identity" in facts:
            known[facts["identity"]] = {**facts, "folder": str(path.parent)}
    return known


def _same_data(config: Config | None, facts: dict[str, Any]) -> bool:
    """Whether the data that a run was trained on is what its configuration reads today (a failed run may have had none)."""
    assert config
    if "fingerprint" not in facts:
        return True
    try:
        return load_world(config).fingerprint == facts["fingerprint"]
    except TransferError:
        return False


def _move(jobs: list[Job], wanted: dict[int, Path]) -> None:
    """Give every finished run the folder of its job. A crash between two renames loses no run: all are found again."""
    parent = jobs[0].folder.parent
    moving = {number: path for number, path in wanted.items() if path.name != str(number)}
    aside = {number: path.rename(parent / f"moving-{path.name}") for number, path in moving.items()}
    taken = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()] if parent.exists() else []
    free = max([*taken, *(job.number for job in jobs)], default=-1) + 1
    for job in jobs:
        own = job.config.identity() if job.config else None
        if wanted.get(job.number) != job.folder and _ended(job.folder) not in (None, own):
            job.folder.rename(parent / str(free))
            free += 1
    for number, path in aside.items():
        path.rename(parent / str(number))


def _ended(folder: Path) -> str | None:
    """The identity of the ended run in a folder; None where there is none."""
    path = folder / track.RESULT
    facts = json.loads(path.read_text()) if path.exists() else {}
    return facts.get("identity") if facts.get("status") in FINAL else None

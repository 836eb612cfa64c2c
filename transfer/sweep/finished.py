"""Which runs of a sweep are there already: found by identity, checked against the data, put where the jobs want them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from transfer.config.labelled import ExampleFiles
from transfer.config.schema import Config
from transfer.errors import TransferError
from transfer.experiment.build import load_world
from transfer.results import run_folder
from transfer.storage.packaged import PACKAGES, located
from transfer.sweep.plan import Job

Stamp = Callable[..., str]  # places -> what is said of the files in them without reading them
FINAL = ("done", "diverged", "failed")
NOTE = ".data"  # of the files that a run read


def settle(jobs: list[Job], retry: list[str]) -> set[int]:
    """Numbers of the jobs that need no run: those that ended before, on the same data, and not as one of `retry`.

    Runs keep their folders' numbers only where the command still gives them the same; otherwise they are moved, and copied
    where an earlier batch of this sweep or another of these jobs has them too. An ended run in the way of another job gets
    a number after the last one.
    """
    if not jobs:
        return set()
    parent, first = jobs[0].folder.parent, jobs[0].number
    places = _places(_ended_runs(parent))
    found = _found(jobs, places, retry)
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


def retried(settings: DictConfig) -> list[str]:
    """How runs ended that are to run again. Raises TransferError for what is no such end."""
    given = settings.get("retry")
    names = list(given) if isinstance(given, ListConfig) else str(given).split(",") if given else []
    if unknown := [name for name in names if name not in ("failed", "diverged", "done")]:
        raise TransferError(f"retry={unknown[0]}: choose from failed, diverged, done; several as retry=failed,diverged")
    return names


def known(jobs: list[Job], retry: list[str]) -> set[int]:
    """Numbers of the jobs that `settle` would let be; nothing is moved."""
    folders = [path.parent for path in jobs[0].folder.parent.glob(f"*/{run_folder.RESULT}") if path.parent.name.isdecimal()]
    ended = ({**facts, "folder": path} for path in folders if is_final(facts := run_folder.read_result(path)))
    return set(_found(jobs, _places(ended), retry))


def _places(ended: Iterable[dict[str, Any]]) -> dict[str, list[Path]]:
    places: dict[str, list[Path]] = {}
    for facts in ended:
        places.setdefault(facts["identity"], []).append(facts["folder"])
    return places


def _found(jobs: list[Job], places: dict[str, list[Path]], retry: list[str]) -> dict[int, Job]:
    stamp = cache(_stamp)
    return {job.number: job for job in jobs if job.config and _counts(job.config, places, retry, stamp)}


def _identity(job: Job) -> str:
    assert job.config
    return job.config.identity()


def _ended_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Results of the ended runs in a sweep's folder, each with its `folder`; what a crash left aside is put back first."""
    for left in folder.glob("moving-*"):
        if left.name.removeprefix("moving-").isdecimal():
            left.rename(folder / str(_next_number(folder)))
    numbered = [path for path in folder.iterdir() if path.name.isdecimal()]
    for path in sorted(numbered, key=lambda path: int(path.name)):
        run_folder.place_of(path)  # where one run was giving way to another, that is ended
        facts = run_folder.read_result(path)
        if is_final(facts):
            yield {**facts, "folder": path}


def is_final(facts: dict[str, Any]) -> bool:
    """Whether a run has ended for good: what the machine made fail is taken up again."""
    return facts["status"] in FINAL and "identity" in facts and not facts.get("machine")


def _holds(folder: Path, identity: str) -> bool:
    return folder.exists() and _ended(folder) == identity


def _counts(config: Config, places: dict[str, list[Path]], retry: list[str], stamp: Stamp) -> bool:
    """Whether what is there of a run will do: as it ended, and on the data of today."""
    if config.identity() not in places:
        return False
    folder = places[config.identity()][0]
    facts = run_folder.read_result(folder)
    return facts["status"] not in retry and same_data(config, facts, folder, stamp)


def same_data(config: Config, facts: dict[str, Any], folder: Path, stamp: Stamp) -> bool:
    """Whether the data and parameters that a run began with are what its configuration reads today (a failed one may have
    had none). The data are read only where a file of them is not the very one that the run noted."""
    if "fingerprint" not in facts:
        return True
    try:
        if run_folder.initial_fingerprint(config.init_from) != facts.get("begun", {}).get("fingerprint", ""):
            return False
        if _untouched(config, folder, stamp):
            return True
        loaded, names = load_world(config), facts.get("world", {}).get("names")
        return loaded.fingerprint == facts["fingerprint"] and names in (None, loaded.summary.get("names"))
    except TransferError:
        return False


def note_data(jobs: list[Job]) -> None:
    """Write down, before runs begin, which files each will read; a later `settle` then need not read them again.

    How an earlier attempt failed is forgotten.
    """
    stamp = cache(_stamp)
    for job in jobs:
        assert job.config
        place = run_folder.place_of(job.folder)
        place.mkdir(parents=True, exist_ok=True)
        (place / run_folder.RESULT).unlink(missing_ok=True)
        (place / NOTE).write_text(stamp(*_reads(job.config)))


def _untouched(config: Config, folder: Path, stamp: Stamp) -> bool:
    """Whether all that a run read is as it was, by size and times: equal and not merely older, whatever clocks say."""
    try:
        return (folder / NOTE).read_text() == stamp(*_reads(config))
    except (OSError, ValueError):
        return False


def _reads(config: Config) -> tuple[Path, ...]:
    """What a world is made from: this package, the files and folders that the domain or the split names, and for readers
    of examples, which name none, all of the data."""
    data, given = Path(config.data_dir), {*_texts(config.domain.model_dump()), *_texts(config.split.model_dump())}
    named = [located(text) if text in PACKAGES else data / text for text in sorted(given) if text]
    whole = [data] if config.domain.kind == "examples" else []
    if isinstance(config.domain, ExampleFiles):  # tables of images have these beside them
        whole = [(data / file.path).parent for file in (config.domain.target, *config.domain.source) if file.image]
    return Path(__file__).parents[1], *whole, *(path for path in named if path.exists())


def _texts(value: Any) -> Iterator[str]:
    """The texts in a nested setting."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _stamp(*places: Path) -> str:
    """A hash of names, sizes and times of change of all files in these places; what Python compiles is left out."""
    digest, seen = hashlib.sha256(), set[tuple[int, int]]()
    for place in places:
        digest.update(b"" if place.is_dir() else _facts(place))
        for folder, inside, files in os.walk(place, followlinks=True):
            own = os.stat(folder) if os.path.exists(folder) else None
            if own is None or (own.st_dev, own.st_ino) in seen:  # it vanished, or links lead back to it
                inside.clear()
                continue
            seen.add((own.st_dev, own.st_ino))
            inside[:] = sorted(name for name in inside if name != "__pycache__")
            for name in sorted(files):
                digest.update(_facts(os.path.join(folder, name)))
    return digest.hexdigest()


def _facts(path: str | Path) -> bytes:
    """Size and times of a file, and of the link that leads to it; moved files keep their mtime, never their ctime."""
    try:
        both = [os.lstat(path), os.stat(path)]
    except OSError:  # a link to nothing, or it vanished
        return f"{path} -\n".encode()
    return f"{path} {[(of.st_size, of.st_mtime_ns, of.st_ctime_ns) for of in both]}\n".encode()


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
    return facts["identity"] if is_final(facts) else None

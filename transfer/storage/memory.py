"""What memory there is for a dense matrix or a compiled program: of the host, its control groups and limits."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import NamedTuple

import psutil

GIB = 2**30
GROUPS = Path("/sys/fs/cgroup")
FILES = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}


class Free(NamedTuple):
    """Free bytes, and what bounds them in words."""

    size: float
    bound: str


def host_memory() -> Free:
    """Bytes that this process may still take: the least of what the machine, its control groups and its limits leave."""
    found = [Free(psutil.virtual_memory().available, "of this machine"), *_of_groups(), *_of_limits()]
    return min(found, key=lambda free: free.size)


def _of_groups() -> list[Free]:
    """What the memory control groups of this process leave, those above it too; both versions of the kernel's files."""
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, path in lines:
        kind = "memory" if "memory" in controllers.split(",") else ""
        if not kind and controllers:
            continue
        inside = Path(path.lstrip("/"))
        for folder in (inside, *inside.parents):
            limit, used = (_number(GROUPS / kind / folder / name) for name in FILES[kind])
            if limit is not None and used is not None:
                # pages of files are given back when they are needed
                given_back = _inactive(GROUPS / kind / folder / "memory.stat")
                found.append(Free(max(limit - used + given_back, 0), "of the control group (cgroup)"))
    return found


def _of_limits() -> list[Free]:
    """What `ulimit -v` and `ulimit -d` leave."""
    taken = psutil.Process().memory_info()
    limits = {resource.RLIMIT_AS: taken.vms, resource.RLIMIT_DATA: getattr(taken, "data", taken.vms)}
    soft = {kind: resource.getrlimit(kind)[0] for kind in limits}
    left = [soft[kind] - used for kind, used in limits.items() if soft[kind] != resource.RLIM_INFINITY]
    return [Free(max(size, 0), "of the limit (ulimit)") for size in left]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _inactive(path: Path) -> int:
    try:
        facts = dict(line.split(None, 1) for line in path.read_text().splitlines())
        return int(facts.get("total_inactive_file", facts.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0

"""Every combination of the values of a command, but for those in which a domain would be its own source."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any


def combinations(overrides: list[Any], size: int | None) -> list[list[list[str]]]:
    """The words of every job of Hydra's overrides, in batches of at most `size`."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    batches = BasicSweeper.split_arguments(overrides, None)
    jobs = [job for batch in batches for job in batch if not _own_source(job)]
    lost = sum(map(len, batches)) - len(jobs)
    if not lost or not jobs:  # not a grid: the run itself says what is wrong
        return BasicSweeper.split_arguments(overrides, size)
    print(f"{lost} combinations with domain.source = domain.target are left out", file=sys.stderr)
    size = size or len(jobs)
    return [jobs[i : i + size] for i in range(0, len(jobs), size)]


def _own_source(job: Sequence[str]) -> bool:
    values = dict(word.lstrip("+").partition("=")[::2] for word in job)
    if any(re.match(r"domain\.(source|target)\.(where|each)\b", key) for key in values):  # parts of one file
        return False
    pairs = [(values.get(f"domain.source{key}"), values.get(f"domain.target{key}")) for key in ("", ".path")]
    return any(source is not None and source == target for source, target in pairs)

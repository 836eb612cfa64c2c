"""The comparison at the end of a multirun: mean ± std per setting and the gap to target_only, from the job folders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from transfer.track import RESULT, write_json

REFERENCE = "target_only"
# Overrides that repeat a measurement rather than change what is measured.
REPEATS = ("seed", "split.seed")


class Job(NamedTuple):
    """One job of a sweep: its folder, its overrides without repeats, and its result.json."""

    folder: Path
    overrides: dict[str, str]
    result: dict[str, Any]


class SweepTable(Callback):
    """Hydra calls this when all jobs have ended."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        print_sweep(Path(config.hydra.sweep.dir))


def print_sweep(folder: Path) -> None:
    """Write every job's gap to target_only into its result.json, then print the table of the sweep in `folder`."""
    jobs = read_jobs(folder)
    if not jobs:
        return
    for job, gap in zip(jobs, gaps(jobs), strict=True):
        if gap:
            write_json(job.folder / RESULT, {**job.result, "gap": {REFERENCE: gap}})
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=140)
    console.print(sweep_table(jobs))
    for job in jobs:
        if not _done(job):
            console.print(
                f"{job.folder.name}: {job.result['status']} {job.result.get('error', '')}", style="red", markup=False
            )
    console.print(f"run folders: {folder}", soft_wrap=True)


def read_jobs(folder: Path) -> list[Job]:
    """The jobs that left a result, in the order of their numbers."""
    paths = sorted(folder.glob(f"*/{RESULT}"), key=lambda path: (len(path.parent.name), path.parent.name))
    jobs = []
    for path in paths:
        record = path.parent / ".hydra" / "overrides.yaml"
        words = yaml.safe_load(record.read_text()) if record.exists() else []
        pairs = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
        overrides = {key: value for key, value in pairs.items() if key not in REPEATS}
        jobs.append(Job(path.parent, overrides, json.loads(path.read_text())))
    return jobs


def gaps(jobs: list[Job]) -> list[dict[str, float]]:
    """Test metrics minus those of target_only on the same world and seed; empty where there is no such run."""
    reference = {_pair(job): job for job in jobs if job.result["method"] == REFERENCE and _done(job)}
    result = []
    for job in jobs:
        other = reference.get(_pair(job)) if _done(job) else None
        mine = job.result["metrics"]["test"]
        theirs = other.result["metrics"]["test"] if other else {}
        result.append({name: mine[name] - theirs[name] for name in mine if name in theirs})
    return result


def sweep_table(jobs: list[Job]) -> Table:
    """One row per setting: how many runs, test metrics as mean ± std, and the gap of the selected metric."""
    varying = [key for key in dict.fromkeys(k for job in jobs for k in job.overrides) if _varies(jobs, key)]
    keys = varying or ["method"]
    rows: dict[tuple[str, ...], list[int]] = {}
    for i, job in enumerate(jobs):
        rows.setdefault(tuple(job.overrides.get(key) or job.result.get(key) or "-" for key in keys), []).append(i)
    finished = next((job.result for job in jobs if _done(job)), None)
    select = finished["select"]["metric"] if finished else "metric"
    names = [name for name in _shown(select) if finished and name in finished["metrics"]["test"]]
    table = Table(
        title=f"test figures of {len(jobs)} runs, mean ± std; gap = difference to {REFERENCE}, same world and seed"
    )
    for key in keys:
        table.add_column(key)
    for column in ("runs", *names, f"gap in {select}"):
        table.add_column(column, justify="right", no_wrap=True)
    differences = gaps(jobs)
    for label, members in rows.items():
        done = [i for i in members if _done(jobs[i])]
        cells = [_spread(jobs[i].result["metrics"]["test"][name] for i in done) for name in names]
        gap = _spread((differences[i][select] for i in done if differences[i]), sign="+")
        runs = f"{len(done)}" + (f" of {len(members)}" if len(done) < len(members) else "")
        table.add_row(*label, runs, *cells, gap)
    return table


def _pair(job: Job) -> tuple[Any, ...]:
    return job.result.get("fingerprint"), job.result.get("task"), job.result.get("seed")


def _done(job: Job) -> bool:
    return job.result["status"] == "done"


def _varies(jobs: list[Job], key: str) -> bool:
    return len({job.overrides.get(key) for job in jobs}) > 1


def _shown(select: str) -> list[str]:
    """The selected metric and those that people read beside it."""
    if "@" not in select:
        return list(dict.fromkeys([select, "rmse", "mae", "accuracy", "macro_f1"]))
    k = select.rpartition("@")[2]
    prefix = f"{select.partition('_')[0]}_" if select.startswith("sampled") else ""
    return list(dict.fromkeys([select, *(f"{prefix}{name}@{k}" for name in ("ndcg", "recall", "hit"))]))


def _spread(values: Iterable[float], sign: str = "") -> str:
    """mean ± sample standard deviation (without it for a single value, a dash for none)."""
    numbers = list(values)
    if not numbers:
        return "-"
    spread = f" ± {np.std(numbers, ddof=1):.4f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):{sign}.4f}{spread}"

"""The runs of a sweep, read from its folders: what was set, how each ended, what it measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from transfer.results.run_folder import RESULT, Loader
from transfer.sweep.plan import TUNED

Flat = dict[str, Any]  # a nested configuration with dotted keys
# Keys that repeat a measurement rather than change what is measured.
REPEATS = ("seed", "split.seed", "domain.data_seed")
# Keys that decide what is measured and how: figures that differ in one of these are never put side by side.
MEASURE = ("domain.", "split.", "task.name", "task.positives", "task.k", "task.select", "task.sampled", "select")
# Keys that change no figure.
SILENT = ("data_dir", "resume", "test", "track", "train.replicas", "train.progress", "train.checkpoint_seconds")


class Run(NamedTuple):
    """One job: its folder, the overrides it was given, its configuration (flat; empty where it never got so far), its
    result.json, and `status`: done, diverged, failed, interrupted, or missing where it left no result."""

    folder: Path
    overrides: dict[str, str]
    config: Flat
    result: dict[str, Any]

    @property
    def status(self) -> str:
        return self.result["status"]

    @property
    def done(self) -> bool:
        return self.status == "done"

    @property
    def tuned(self) -> list[str]:
        """The keys whose values a search chose for this run."""
        return [key for key in self.overrides.get(TUNED, "").strip("[]").split(",") if key]

    @property
    def error(self) -> str:
        """The first line of what went wrong; empty for a finished run."""
        reasons = {"missing": "left no result: it never began, or was killed", "diverged": "a loss or metric is not finite"}
        lines = str(self.result.get("error") or reasons.get(self.status, "")).splitlines()
        return lines[0] if lines else ""

    @property
    def pair(self) -> tuple[str, int]:
        """The world (with its split) and the seed: runs that share them are compared with each other."""
        return self.result["fingerprint"], self.result["seed"]

    def metric(self, part: str, name: str) -> float | None:
        return self.result["metrics"].get(part, {}).get(name)

    @property
    def seconds(self) -> float | None:
        """Training and evaluation of this run: its share of what its program took, without compilation."""
        spent = self.result.get("seconds")
        if not spent:
            return None
        return (spent.get("train", 0.0) + spent.get("evaluate", 0.0)) / self.result.get("replicas", 1)


def read_runs(folder: Path) -> list[Run]:
    """The runs of a sweep, by number: every subfolder that has a result or the overrides of a job."""
    places = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    places.sort(key=lambda path: (len(path.name), path.name))
    runs = (_read_run(place) for place in places)
    return [run for run in runs if run]


def _read_run(place: Path) -> Run | None:
    record, config, result = place / ".hydra" / "overrides.yaml", place / "config.yaml", place / RESULT
    if not result.exists() and not record.exists():
        return None
    words = yaml.load(record.read_bytes(), Loader) if record.exists() else []
    pairs = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
    flat = dict(_flatten(yaml.load(config.read_bytes(), Loader))) if config.exists() else {}
    facts = json.loads(result.read_bytes()) if result.exists() else {"status": "missing"}
    return Run(place, pairs, flat, {"metrics": {}, **facts})


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(item) if isinstance(item, list) else item


def spelled(value: Any) -> str:
    """A value of a flat configuration as a title says it: lists of names without brackets."""
    try:
        names = json.loads(value) if isinstance(value, str) and value.startswith("[") else None
    except ValueError:
        names = None
    return " + ".join(map(str, names)) if names and not any(isinstance(name, dict) for name in names) else str(value)


def measured(run: Run) -> Flat:
    """What this run's figures are figures of: domain, task, split and protocol."""
    own = {key: value for key, value in run.config.items() if key.startswith(MEASURE) and key not in REPEATS}
    protocol = {key: value for key, value in run.result.get("protocol", {}).items() if key != "split"}
    return own | {f"protocol.{key}": value for key, value in protocol.items()}


def compared(run: Run) -> Flat:
    """What is compared: every other key, without repeats and without what a search chose."""
    without = {*REPEATS, *run.tuned}
    return {
        key: value for key, value in run.config.items() if not key.startswith((*MEASURE, *SILENT)) and key not in without
    }


def varying(rows: Iterable[Flat]) -> list[str]:
    """The keys on which these disagree, in the order in which they first appear."""
    table = list(rows)
    keys = dict.fromkeys(key for row in table for key in row)
    return [key for key in keys if len({repr(row.get(key)) for row in table}) > 1]


def results_table(runs: list[Run], folder: Path) -> pl.DataFrame:
    """One row per run: what it was, how it ended, what it cost and all its metrics."""
    columns = ("id", "status", "domain", "task", "method", "model", "seed", "split_seed", "fingerprint")
    counts = ("parameters", "trainable_parameters", "replicas", "device")
    hp = list(dict.fromkeys(key for run in runs for key in run.config if key.startswith("hp.")))
    more = [key for key in varying(run.config for run in runs if run.config) if key not in ("seed", "split.seed", *hp)]
    names = {
        part: list(dict.fromkeys(name for run in runs for name in run.result["metrics"].get(part, {})))
        for part in ("valid", "test")
    }
    rows = [
        {
            "run": str(run.folder.relative_to(folder)),
            **{key: run.result.get(key) for key in columns},
            "error": run.error or None,
            "split": run.config.get("split.name"),
            **{key: _number(run.config.get(key)) for key in hp},
            **{key: None if (value := run.config.get(key)) is None else str(value) for key in more},
            "seconds": run.seconds,
            **{key: run.result.get(key) for key in counts},
            **{f"{part}/{name}": run.metric(part, name) for part in names for name in names[part]},
        }
        for run in runs
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)

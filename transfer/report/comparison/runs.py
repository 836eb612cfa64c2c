"""The runs of a sweep, read from its folders: what was set, how each ended, what it measured."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from transfer.errors import TransferError
from transfer.report.comparison.files import clean, content, parse_json, read_result, read_yaml
from transfer.results.run_folder import RESULT
from transfer.sweep.plan import TUNED

Flat = dict[str, Any]  # a nested configuration with dotted keys
# Keys that repeat a measurement rather than change what is measured.
REPEATS = ("seed", "split.seed", "split.folds", "split.fold", "domain.data_seed")
# Keys that decide what is measured and how: figures that differ in one of these are never put side by side.
OF_TASKS = ("task.name", "task.positives", "task.k", "task.select", "task.sampled", "task.domains")
MEASURE = ("domain.", "split.", *OF_TASKS, "select")
# Keys that change no figure.
SILENT = ("data_dir", "resume", "test", "track", "train.replicas", "train.progress", "train.checkpoint_seconds")


class Run(NamedTuple):
    """One job: its folder, the overrides it was given, its configuration (flat; empty where it never got so far), its
    result.json, and `problems`, a line for every file beside it that could not be read.

    `status`: done, diverged, failed, interrupted; missing where it left no result, unreadable where a file of it is broken,
    copy where the same run is in another folder.
    """

    folder: Path
    overrides: dict[str, str]
    config: Flat
    result: dict[str, Any]
    problems: list[str]

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
        reasons = {
            "missing": "left no result: it never began, or was killed",
            "diverged": "a loss or metric is not finite",
            "interrupted": "before its end: the same command goes on with it",
            "failed": "without saying why",
        }
        lines = str(self.result.get("error") or reasons.get(self.status, ""))[:10_000].splitlines()
        return clean(lines[0]) if lines else ""

    def note(self, problem: str) -> None:
        """Remember a file that could not be read, once."""
        if problem not in self.problems:
            self.problems.append(problem)

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
    """The runs of a sweep, by number: every subfolder that has a result or the overrides of a job.

    A run with a broken file, or one that is there twice, is in no comparison and says so in its error.
    """
    places = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()] if folder.is_dir() else []
    places.sort(key=lambda path: (len(path.name), path.name))
    runs: list[Run] = []
    seen: dict[tuple[Any, Any], str] = {}
    for place in places:
        try:
            run = _read_run(place)
        except TransferError as error:
            run = _lost(place, "unreadable", str(error))
        if run is None:
            continue
        if run.done and (known := run.result.get("id")) is not None:
            first = seen.setdefault((str(known), run.result["fingerprint"]), place.name)
            if first != place.name and not place.name.isdigit():  # a search may try the same numbers twice
                run = _lost(place, "copy", f"the same run as {first}, left out")
        runs.append(run)
    return runs


def read_run(folder: Path) -> Run:
    """One run, whatever became of it; a broken file is its error."""
    try:
        return _read_run(folder) or _lost(folder, "missing", "no result")
    except TransferError as error:
        return _lost(folder, "unreadable", str(error))


def _lost(place: Path, status: str, error: str) -> Run:
    return Run(place, {}, {}, {"status": status, "error": error, "metrics": {}}, [])


def _read_run(place: Path) -> Run | None:
    record, config, result = place / ".hydra" / "overrides.yaml", place / "config.yaml", place / RESULT
    if not os.path.lexists(result) and not os.path.lexists(record):
        return None
    words = read_yaml(record) if record.exists() else []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise TransferError(f"{record.name}: not a list of overrides")
    pairs = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
    facts = read_result(result) if os.path.lexists(result) else {"status": "missing", "metrics": {}}
    flat = _read_config(config) if config.exists() else {}
    if facts["status"] == "done" and not flat:
        raise TransferError(f"{config.name}: not there, so nothing says what this run is")
    return Run(place, pairs, flat, facts, [])


def _read_config(path: Path) -> Flat:
    """A run's configuration, flat. Raises TransferError where it lacks what every comparison needs."""
    value = read_yaml(path)
    flat = dict(flatten(value)) if isinstance(value, dict) else {}
    for key in ("domain.name", "task.name", "split.name", "method.name"):
        if not isinstance(flat.get(key), str):
            raise TransferError(f"{path.name}: {key} is missing or no text")
    for key, number in flat.items():
        if key.startswith("hp.") and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise TransferError(f"{path.name}: {key} is no number")
    return flat


def flatten(value: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """What a nested configuration holds, by dotted key; lists as JSON."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from flatten(item, f"{prefix}{key}.")
        else:
            plain = item is None or isinstance(item, str | int | float)
            yield prefix + key, item if plain else json.dumps(item, default=str)


def run_curves(run: Run, metric: str) -> dict[str, dict[int, float]]:
    """{stage: {step: validation metric}} of a run; empty where it has none that can be read (the run says so)."""
    path = run.folder / "metrics.jsonl"
    curves: dict[str, dict[int, float]] = {}
    try:
        for line in content(path).splitlines() if path.exists() else ():
            record = parse_json(line, path.name)
            if not isinstance(record, dict):
                raise TransferError(f"{path.name}: a line that is no object")
            if (value := record.get(metric)) is None:
                continue
            step: Any = record.get("step")
            if not all(isinstance(x, int | float) and abs(x) < 1e15 for x in (value, step)):
                raise TransferError(f"{path.name}: a step or metric that is no number")
            curves.setdefault(clean(str(record.get("stage"))), {})[int(step)] = float(value)
    except TransferError as error:
        run.note(str(error))
        return {}
    return curves


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
    columns = ("id", "status", "domain", "task", "method", "model", "fingerprint")
    counts = ("parameters", "trainable_parameters", "replicas", "device")
    hp = list(dict.fromkeys(key for run in runs for key in run.config if key.startswith("hp.")))
    more = [key for key in varying(run.config for run in runs if run.config) if key not in ("seed", "split.seed", *hp)]
    names = {
        part: list(dict.fromkeys(name for run in runs for name in run.result["metrics"].get(part, {})))
        for part in ("valid", "test")
    }
    rows = [
        {
            "run": shown_name(run, folder),
            **{key: None if (value := run.result.get(key)) is None else str(value) for key in columns},
            **{key: _whole(run.result.get(key)) for key in ("seed", "split_seed")},
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


def shown_name(run: Run, folder: Path) -> str:
    """The folder of a run below that of its sweep, as text."""
    return clean(os.fsencode(run.folder.relative_to(folder)).decode(errors="replace"))


def spreadsheet(table: pl.DataFrame) -> pl.DataFrame:
    """The same for a CSV file: text that a spreadsheet would take for a formula begins with an apostrophe."""
    formula = pl.col(pl.String).str.contains(r"^[=+\-@\t\r]") & pl.col(pl.String).cast(pl.Float64, strict=False).is_null()
    return table.with_columns(pl.when(formula).then("'" + pl.col(pl.String)).otherwise(pl.col(pl.String)).name.keep())


def _whole(value: Any) -> int | None:
    """A seed; of a run that could not begin the word that it was given."""
    word = str(value)
    return int(word) if word.isascii() and word.isdigit() and len(word) < 19 else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)

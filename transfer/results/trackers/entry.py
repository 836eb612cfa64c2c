"""What a tracker is told of a run, of the runs of one program, or of a sweep; read from what their folders hold."""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from transfer.config.schema import Config
from transfer.results.run_folder import CONFIG, RESULT, Loader, read_records, sweep_name

Facts = Mapping[str, Any]
WORDS = ".hydra/overrides.yaml"
UNSAID = ("method=", "data_dir=", "track", "train.progress", "hydra.", "engine")  # no part of a run's name
LONGEST = 120


class Entry(NamedTuple):
    """One entry of a tracker, of a kind: run, program or sweep.

    key: the same for the same state of the same folders, so that nothing is there twice; metric, sign: what selects, and
    whether higher is better; files: of a sweep, its table and its page.
    """

    name: str
    kind: str
    key: str
    group: str | None = None
    config: Facts = MappingProxyType({})
    metric: str = ""
    sign: int = 1
    files: tuple[Path, ...] = ()

    @property
    def tags(self) -> dict[str, str]:
        """The names of domain, method and model, by what they are."""
        return {part: self.config[part]["name"] for part in ("domain", "method", "model") if part in self.config}

    @property
    def path(self) -> str:
        """A name for a file of this entry."""
        return f"{re.sub(r'[^A-Za-z0-9=.,+-]+', '_', self.name)[:80]}-{self.key[:8]}"


class Writer(NamedTuple):
    """Where an entry is written: the values of a step of a stage, and, once, what it ended with."""

    log: Callable[[str, int, Facts], None]
    end: Callable[[Facts], None]


def stepped(add: Callable[[str, int, Facts], None], close: Callable[[Facts], None]) -> Writer:
    """A writer for trackers whose entries have steps and no stages: a stage begins the names of its values, and what the
    entry ended with stands at its last step.

    add: writes values at a step, their names with a prefix; close: ends the entry.
    """
    last = 0

    def log(stage: str, step: int, values: Facts) -> None:
        nonlocal last
        last = max(last, step)
        add(f"{stage}/", step, values)

    def end(summary: Facts) -> None:
        add("", last, summary)
        close(summary)

    return Writer(log, end)


class Record(NamedTuple):
    """The values of one step of a stage."""

    stage: str
    step: int
    values: dict[str, float]


def key_of(*state: Any) -> str:
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def live_entry(config: Config, folder: Path, alone: bool) -> Entry:
    """A run that begins; its key is the same when it is taken up again."""
    key = key_of("live", str(folder.resolve()), config.identity())
    facts = config.model_dump(mode="json")
    named = name_of(folder, facts, [] if alone else sorted(folder.parent.glob(f"*/{WORDS}")))
    return Entry(named, "run", key, None if alone else sweep_name(folder.parent), facts)


def run_entry(folder: Path, group: str | None, among: Sequence[Path] = ()) -> Entry:
    """A run that has ended. among: the words of all runs of its sweep."""
    config, result = read_config(folder), json.loads((folder / RESULT).read_bytes())
    select = result.get("select", {})
    key = key_of(str(folder.resolve()), result["status"], result.get("id"))
    name = name_of(folder, config, among)
    return Entry(name, "run", key, group, config, select.get("metric", ""), select.get("sign", 1))


def name_of(folder: Path, config: Facts, among: Sequence[Path] = ()) -> str:
    """The method, and the words that tell a run from others of its sweep; of a single run all that were given."""
    words = _words(folder / WORDS)
    others = [set(_words(path)) for path in among]
    common = set.intersection(*others) if len(others) > 1 else set()
    told = [word for word in words if word not in common and not word.lstrip("+").startswith(UNSAID)]
    if not words:
        told = [f"seed={config['seed']}"]
    return " ".join([config["method"]["name"], *told])[:LONGEST]


def _words(path: Path) -> list[str]:
    return [str(word) for word in yaml.load(path.read_bytes(), Loader) or []] if path.is_file() else []


def summary_of(folder: Path) -> dict[str, Any]:
    """How a run ended: status, seconds, commit, final figures, those of the selected step, gaps in what selects."""
    result = json.loads((folder / RESULT).read_bytes())
    summary: dict[str, Any] = {key: result.get(key) for key in ("status", "commit") if key in result}
    summary |= {f"seconds/{phase}": value for phase, value in (result.get("seconds") or {}).items()}
    for part, metrics in result["metrics"].items():
        summary |= {f"{part}/{name}": value for name, value in metrics.items()}
    for stage, record in (result.get("selected") or {}).items():
        summary |= {f"selected/{stage}/{name}": value for name, value in record.items() if name != "stage"}
    metric = result.get("select", {}).get("metric")
    summary |= {f"gap/{base}": gap.get(metric) for base, gap in (result.get("gap") or {}).items()}
    return {name: value for name, value in summary.items() if value is not None}


def records_of(folder: Path) -> Iterator[Record]:
    """Every evaluation of a run."""
    for record in read_records(folder):
        known = {name: value for name, value in record.items() if name not in ("stage", "step") and value is not None}
        yield Record(record["stage"], record["step"], known)


def program_entry(members: list[Path], group: str) -> Entry:
    """The runs of one program as one entry."""
    config = {**read_config(members[0]), "seed": None, "hp": None}
    results = [json.loads((member / RESULT).read_bytes()) for member in members]
    select = results[0].get("select", {})
    states = sorted(f"{member.resolve()} {result['status']}" for member, result in zip(members, results, strict=True))
    name = f"{config['method']['name']} × {len(members)}"
    return Entry(
        name, "program", key_of("program", *states), group, config, select.get("metric", ""), select.get("sign", 1)
    )


def mean_records(members: list[Path]) -> Iterator[Record]:
    """Mean and sample std over runs, by stage and step."""
    rows: dict[tuple[str, int], dict[str, list[float]]] = {}
    for member in members:
        for record in records_of(member):
            for name, value in record.values.items():
                rows.setdefault((record.stage, record.step), {}).setdefault(name, []).append(value)
    for (stage, step), columns in rows.items():
        yield Record(stage, step, _spread(columns))


def mean_summary(members: list[Path]) -> dict[str, Any]:
    """Mean and sample std over the final figures of runs, how many there are, and how many are done."""
    of_runs = [summary_of(member) for member in members]
    columns: dict[str, list[float]] = {}
    for summary in of_runs:
        for name, value in summary.items():
            if not isinstance(value, str):
                columns.setdefault(name, []).append(value)
    done = sum(summary["status"] == "done" for summary in of_runs)
    return {**_spread(columns), "replicas": len(members), "done": done}


def _spread(columns: dict[str, list[float]]) -> dict[str, float]:
    means = {f"{name}_mean": statistics.fmean(values) for name, values in columns.items()}
    return means | {f"{name}_std": statistics.stdev(values) for name, values in columns.items() if len(values) > 1}


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run; earlier ones have the name of a tracker alone."""
    config = yaml.load((folder / CONFIG).read_bytes(), Loader)
    track = config["track"]
    return config | {"track": {"name": track} if isinstance(track, str) else track}

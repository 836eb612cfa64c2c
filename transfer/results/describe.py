"""What result.json says of a program beside the figures of its runs."""

from __future__ import annotations

import platform
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table

from transfer.config.schema import Config
from transfer.console import console
from transfer.data.examples.world import LoadedExamples
from transfer.data.interactions.world import Loaded
from transfer.errors import DISTRIBUTION
from transfer.learning import fusion, guard, source_weights
from transfer.program import Done, Fit, Program, Rate, Task
from transfer.training.compiler import Clock
from transfer.training.rates import rates_of


class Row(NamedTuple):
    """One parameter: its stage and name, its shape and size in one replica, and how it trains (factor 0: it does not)."""

    stage: str
    name: str
    shape: tuple[int, ...]
    size: int
    rate: Rate


def parameter_table(program: Program, done: Done) -> list[Row]:
    """A row for every parameter of a program, from its parameters or their shapes with a leading replica axis."""
    rows = []
    for stage in program.stages:
        leaves, _ = jax.tree_util.tree_flatten_with_path(done[stage.name])
        rates = rates_of(stage, done[stage.name]) if isinstance(stage, Fit) else [Rate(0.0)] * len(leaves)
        for (path, leaf), rate in zip(leaves, rates, strict=True):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            rows.append(Row(stage.name, name, leaf.shape[1:], int(np.prod(leaf.shape[1:])), rate))
    return rows


def show_parameters(program: Program, done: Done) -> None:
    """Print which parameters train and how, stage by stage, for methods that do not train all of them alike."""
    if not any(isinstance(stage, Fit) and stage.rates for stage in program.stages):
        return
    table = Table("stage", "parameter", "shape", "trains", "rate ×")
    for row in parameter_table(program, done):
        since = f"from {row.rate.since:.0%} on" if row.rate.since else "yes"
        trains = since if row.rate.factor else "no"
        table.add_row(row.stage, row.name, " x ".join(map(str, row.shape)), trains, _factor(row.rate))
    console.print(table)


def _factor(rate: Rate) -> str:
    return f"{rate.factor:g}" + (f" · hp.{rate.by}" if rate.by else "")


def count_parameters(program: Program, done: Done) -> dict[str, Any]:
    """Numbers that a replica keeps, and those among them that gradient steps have moved; these also by gradient stage."""
    rows = parameter_table(program, done)
    moved = {stage.name: 0 for stage in program.stages if isinstance(stage, Fit)}
    for row in rows:
        if row.rate.factor:
            moved[row.stage] += row.size
    whole = {"parameters": sum(row.size for row in rows), "trainable_parameters": sum(moved.values())}
    return {**whole, "trainable_by_stage": moved}


def describe_shares(config: Config, loaded: Loaded | LoadedExamples, done: Done) -> dict[str, Any]:
    """What was learnt (parameters of one replica) of the parts of a mixture: programs, modalities, sources."""
    return {**describe_guard(config, loaded, done), **describe_fusion(loaded, done), **describe_sources(loaded, done)}


def describe_guard(config: Config, loaded: Loaded | LoadedExamples, done: Done) -> dict[str, Any]:
    """The shares in which a guarded run (parameters of one replica) mixes its programs; empty for one without a guard."""
    kind = config.method.guard
    if guard.STAGE not in done:
        return {}
    sources = [source["name"] for source in loaded.summary["sources"]]
    names = ["target_only", *([config.method.name] if kind == "gate" else sources)]
    shares = zip(names, done[guard.STAGE]["weights"], strict=True)
    return {"guard": {"kind": kind, "weights": {name: round(float(share), 6) for name, share in shares}}}


def describe_fusion(loaded: Loaded | LoadedExamples, done: Done) -> dict[str, Any]:
    """The shares of the modalities in what late fusion adds (parameters of one replica), by name; empty without it."""
    if fusion.STAGE not in done:
        return {}
    shares = zip(fusion.modalities(loaded.world), done[fusion.STAGE]["shares"], strict=True)
    return {"fusion": {name: round(float(share), 6) for name, share in shares}}


def describe_sources(loaded: Loaded | LoadedExamples, done: Done) -> dict[str, Any]:
    """The weights that were learnt of the sources (parameters of one replica), by name, by which share the error for
    unseen readers rises without each, and the error after each that was taken, in their order; of a choice what they reach
    by each candidate, and what each source by itself gains over popularity; empty where none were."""
    if source_weights.STAGE not in done:
        return {}
    names = [source["name"] for source in loaded.summary["sources"]]
    learnt = done[source_weights.STAGE]
    found = {
        f"source_{key}": {name: round(float(value), 6) for name, value in zip(names, learnt[key], strict=True)}
        for key in ("weights", "without")
    }
    if "taken" in learnt:
        taken = zip(learnt["taken"], learnt["errors"], strict=True)
        found["source_errors"] = {names[int(place)]: round(float(error), 6) for place, error in taken}
    if "reached" in learnt:
        for key, of in (("reached", source_weights.CANDIDATES), ("alone", names)):
            found[f"source_{key}"] = {name: round(float(x), 6) for name, x in zip(of, learnt[key], strict=True)}
    return found


def describe_program(
    config: Config,
    loaded: Loaded | LoadedExamples,
    task: Task,
    protocol: dict[str, Any],
    uses_source: bool,
    clock: Clock,
    replicas: int,
    peak_memory: float,
) -> dict[str, Any]:
    """What result.json says of a whole program: names, protocol, counts, seconds, versions, commit, device, data, its end.

    protocol: what the task says of how its figures come to be; uses_source: whether the method sees a source here.
    peak_memory: bytes on one device that the largest compiled program of this run needs, all its replicas together.
    """
    device = jax.devices()[0]
    return {
        "domain": config.domain.name,
        "task": config.task.name,
        "method": config.method.name,
        "model": config.model.name,
        "uses_source": uses_source,
        **({"permuted": list(config.method.permute)} if config.method.permute else {}),
        "split_seed": config.split.seed,
        "select": {"metric": task.select, "sign": task.sign, "by": config.select},
        "protocol": {
            "split": config.split.model_dump(mode="json", exclude_none=True),
            **protocol,
            **getattr(loaded, "protocol", {}),  # of worlds of users and items
            **({"core": core} if (core := getattr(config.domain, "core", None)) is not None else {}),
        },
        "world": loaded.summary,
        "fingerprint": loaded.fingerprint,
        "reproducible": config.train.seconds is None,  # a budget of seconds ends where the machine has come to
        "seconds": {name: round(value, 4) for name, value in clock.items()},
        "replicas": replicas,
        "peak_memory_mib": peak_memory / 2**20,
        "versions": _versions(),
        "python": platform.python_version(),
        **({"commit": commit} if (commit := _commit()) else {}),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": f"{device.platform}:{device.device_kind}",
        "devices": jax.device_count(),
        "processes": jax.process_count(),
    }


@cache
def _versions() -> dict[str, str]:
    return {"transfer": version(DISTRIBUTION)} | {
        name: version(name) for name in ("jax", "flax", "optax", "hydra-core", "polars")
    }


@cache
def _commit() -> str | None:
    """The commit of the checkout that holds the package, `-dirty` where its files were changed; None outside of one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists() or (git := shutil.which("git")) is None:
        return None
    words = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None

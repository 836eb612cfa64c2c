"""Copy finished runs to W&B from their files, so that no training waits for it: by run or by program, a sweep once."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from transfer.config.schema import Track
from transfer.errors import TransferError
from transfer.results.run_folder import RESULT, Loader, sweep_name

MODES = ("online", "offline", "disabled")


def wanted(track: Track) -> bool:
    """Whether runs are copied; asked before they begin. Raises TransferError where W&B is asked for and cannot do it."""
    if track.name != "wandb":
        return False
    mode = os.environ.get("WANDB_MODE") or "offline"
    if mode not in MODES:
        raise TransferError(f"WANDB_MODE={mode}: choose from {', '.join(MODES)} (offline where it is not set)")
    if mode != "disabled" and find_spec("wandb") is None:
        raise TransferError("track=wandb needs the package wandb: pip install wandb, or leave track=wandb out")
    return mode != "disabled"


def upload(folder: Path) -> None:
    """Copy a run folder into W&B; offline unless WANDB_MODE says otherwise, so no account or network is needed."""
    _copy_run(folder, place=folder, group=None)
    _settle()


def upload_sweep(folder: Path) -> None:
    """Copy what is new in a sweep into W&B, one W&B run per run or per program as `track.per` says, and a summary run.

    The summary has the table of results and the page as an artifact, where the report has been written. All lies in
    FOLDER/wandb, so that `wandb sync FOLDER/wandb/offline-run-*` sends it.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return
    group = sweep_name(folder)
    places = sorted(path.parent for path in folder.glob(f"*/{RESULT}") if (path.parent / "config.yaml").exists())
    programs: dict[str, list[Path]] = {}
    for place in places:
        config = _load(place)
        if config["track"]["name"] == "wandb" and config["track"]["per"] == "program":
            hp = sorted(config["hp"])
            static = {key: value for key, value in config.items() if key not in ("seed", "hp", "resume", "track")}
            programs.setdefault(json.dumps([static, hp], sort_keys=True), []).append(place)
        elif config["track"]["name"] == "wandb":
            _copy_run(place, place=folder, group=group)
    for members in programs.values():
        _copy_program(members, folder, group)
    _copy_summary(folder, group)
    _settle()


def _settle() -> None:
    """End W&B's service process, which writes the last lines of its files: `finish` alone returns before that."""
    import wandb

    if wandb.run is None:  # somebody else's run in this process stays alive
        wandb.teardown()


def _copy_run(run_folder: Path, place: Path, group: str | None) -> None:
    config, result = _load(run_folder), json.loads((run_folder / RESULT).read_bytes())
    names = {"name": f"{config['method']['name']}-{config['seed']}", "group": group, "job_type": "run"}
    with _wandb_run(place, [str(run_folder.resolve()), result["status"], result.get("id")], config, **names) as run:
        if run is None:
            return
        for record in _records(run_folder):
            stage = record.pop("stage")
            run.log({f"{stage}/{name}": value for name, value in record.items() if value is not None})
        summary: dict[str, Any] = {"status": result["status"], "seconds": result.get("seconds")}
        for part, metrics in result["metrics"].items():
            summary |= {f"{part}/{name}": value for name, value in metrics.items() if value is not None}
        run.summary.update(summary)


def _copy_program(members: list[Path], place: Path, group: str) -> None:
    """Mean and sample std over the replicas of a program, by stage and step, and of the final figures."""
    config = {**_load(members[0]), "seed": None, "hp": None}
    results = [json.loads((member / RESULT).read_bytes()) for member in members]
    identity = [
        "program",
        *sorted(f"{member.resolve()} {result['status']}" for member, result in zip(members, results, strict=True)),
    ]
    names = {"name": f"{config['method']['name']} × {len(members)}", "group": group, "job_type": "program"}
    with _wandb_run(place, identity, config, **names) as run:
        if run is None:
            return
        rows: dict[tuple[str, int], dict[str, list[float]]] = {}
        for member in members:
            for record in _records(member):
                of_step = rows.setdefault((record.pop("stage"), record["step"]), {})
                for name, value in record.items():
                    of_step.setdefault(name, []).append(value)
        for (stage, step), columns in rows.items():
            spread = {key: v for name, values in columns.items() if name != "step" for key, v in _mean_std(name, values)}
            run.log({f"{stage}/step": step, **{f"{stage}/{name}": value for name, value in spread.items()}})
        figures: dict[str, list[float]] = {}
        for result in results:
            for part, metrics in result["metrics"].items():
                for name, value in metrics.items():
                    figures.setdefault(f"{part}/{name}", []).append(value)
        summary = {key: value for name, values in figures.items() for key, value in _mean_std(name, values)}
        done = sum(result["status"] == "done" for result in results)
        run.summary.update({**summary, "replicas": len(members), "done": done})


def _mean_std(name: str, values: list[Any]) -> list[tuple[str, float]]:
    known = [value for value in values if value is not None]
    found = [(f"{name}_mean", statistics.fmean(known))] if known else []
    return found + ([(f"{name}_std", statistics.stdev(known))] if len(known) > 1 else [])


def _copy_summary(folder: Path, group: str) -> None:
    import wandb

    table, page = folder / "results.parquet", folder / "index.html"
    identity = ["sweep", str(folder.resolve()), hashlib.sha256(table.read_bytes()).hexdigest() if table.exists() else ""]
    with _wandb_run(folder, identity, {}, name=group, group=group, job_type="sweep") as run:
        if run is None:
            return
        if table.exists():
            rows = pl.read_parquet(table)
            run.log({"results": wandb.Table(columns=[*rows.columns], data=[list(row) for row in rows.iter_rows()])})
        if page.exists():
            report = wandb.Artifact(f"report-{run.id}", type="report")
            report.add_file(str(page))
            run.log_artifact(report)


@contextmanager
def _wandb_run(place: Path, identity: list[Any], config: dict[str, Any], **names: Any) -> Iterator[Any]:
    """A W&B run in `place`/wandb, finished at the end; None where one with this identity is there already.

    What a training process would be watched for (its machine, its console, its code and packages) is switched off: this is
    a copy of files, and one service process takes all of them.
    """
    import wandb

    run_id = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    if any(place.glob(f"wandb/*run-*-{run_id}")):
        yield None
        return
    tags = [config[key]["name"] for key in ("domain", "method", "model") if key in config]
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "transfer"),
        mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
        dir=str(place),
        id=run_id,
        tags=tags,
        config=config,
        reinit="create_new",
        settings=wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
        **names,
    )
    try:
        yield run
    finally:
        run.finish()


def _load(folder: Path) -> dict[str, Any]:
    config = yaml.load((folder / "config.yaml").read_bytes(), Loader)
    track = config["track"]
    return config | {"track": {"name": track, "per": "run"} if isinstance(track, str) else track}


def _records(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

"""The run folder first, W&B from it: whatever reads a run reads these files."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import statistics
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from transfer.checkpoint import save_tree, write
from transfer.config import Config, Track, parse
from transfer.errors import TransferError
from transfer.progress import Interrupted

LOG = "transfer.log"
CHECKPOINT, PARAMETERS, RESULT = "checkpoint.safetensors", "parameters.safetensors", "result.json"
PER_USER, PROJECTION = "per_user.parquet", "projection.parquet"


# libyaml where it is there: the pure Python one takes 10 ms a file
Dumper, Loader = getattr(yaml, "CSafeDumper", yaml.SafeDumper), getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def plain(value: Any) -> Any:
    """JSON values only: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any, flush: bool = True) -> None:
    write(path, (json.dumps(plain(value), indent=2) + "\n").encode(), flush)


def open_run(folder: Path, config: Config, alone: bool = True) -> None:
    """Create the folder and say what will run: config.yaml (all of it) and hp.json (the traced part)."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (RESULT, PER_USER, PROJECTION):
        (folder / old).unlink(missing_ok=True)  # an older run's result must not stand for this one
    for left in folder.glob(".*.[0-9]*"):  # what a killed write left
        left.unlink()
    traced = yaml.dump({"seed": config.seed, "hp": config.hp}, Dumper=Dumper, sort_keys=False)
    static = _static_text(config.program_key(), config.resume, config.track)
    write(folder / "config.yaml", (static + traced).encode(), alone)
    write_json(folder / "hp.json", {"seed": config.seed, **config.hp}, alone)


@lru_cache(maxsize=8)
def _static_text(program: str, resume: bool, track: Track) -> str:
    """The YAML of everything but seed and hp: made once for all runs of a program."""
    static = {**json.loads(program)[0], "resume": resume, "track": track.model_dump()}
    return yaml.dump(static, Dumper=Dumper, sort_keys=False)


def close_run(
    folder: Path,
    config: Config,
    result: dict[str, Any],
    records: list[dict[str, Any]],
    parameters: Any,
    tables: Mapping[str, pl.DataFrame],
    alone: bool = True,
) -> None:
    """Write what a finished run leaves but its result: metrics.jsonl with one object per evaluation, the parameters.

    tables: by file name, kept as zstd Parquet: the test values of every user (or example), and where both domains lie.
    alone: not one of a sweep's, so it draws its learning curve (the page of a sweep draws those of all its runs).
    """
    lines = [json.dumps(plain(record)) for record in records]
    write(folder / "metrics.jsonl", "".join(f"{line}\n" for line in lines).encode(), alone)
    for name, table in tables.items():
        content = io.BytesIO()
        table.write_parquet(content, compression="zstd")
        write(folder / name, content.getvalue(), alone)
    save_tree(folder / PARAMETERS, parameters, {"method": config.method.name, "id": result["id"]}, alone)
    if records and alone:
        from transfer.report.curve import learning_curve

        learning_curve(records, result, folder / "learning_curve.png")


def finish_runs(folders: Sequence[Path], results: Sequence[dict[str, Any]], alone: bool = True) -> None:
    """Write result.json of the runs of a program, last: where it says `done`, all the rest is on the disk."""
    if not alone:
        os.sync()
    for folder, result in zip(folders, results, strict=True):
        write_json(folder / RESULT, result, alone)
        (folder / CHECKPOINT).unlink(missing_ok=True)


def fail_run(folder: Path, config: Config, error: BaseException) -> None:
    """Leave a result.json that says how a run ended without a result: `interrupted`, or `failed` with the error's line."""
    folder.mkdir(parents=True, exist_ok=True)
    interrupted = isinstance(error, Interrupted | KeyboardInterrupt)
    line = (str(error) or type(error).__name__).splitlines()[0]
    status = {"status": "interrupted"} if interrupted else {"status": "failed", "error": line}
    names = {"domain": config.domain.name, "task": config.task.name, "method": config.method.name, "seed": config.seed}
    names |= {"split_seed": config.split.seed, "identity": config.identity()}
    write_json(folder / RESULT, {**status, "metrics": {"valid": {}, "test": {}}, **names})
    if not interrupted:
        with (folder / LOG).open("a") as log:
            log.writelines(traceback.format_exception(error))


def refuse_run(folder: Path, error: str, overrides: list[str]) -> None:
    """Leave a result.json of a job that cannot run, where its run has not done so itself."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / RESULT).exists():
        return
    names = dict(word.lstrip("+").split("=", 1) for word in overrides if "=" in word)
    known = {key: names[key] for key in ("domain", "task", "method", "seed") if key in names}
    write_json(folder / RESULT, {"status": "failed", "error": error, "metrics": {"valid": {}, "test": {}}, **known})


def read_result(folder: Path) -> dict[str, Any]:
    """result.json of a run; status `unfinished` where there is none, or where a crash of the machine left half of it."""
    try:
        return json.loads((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return {"status": "unfinished", "metrics": {"valid": {}, "test": {}}}


def status(folder: Path) -> str:
    """How the run in a folder ended; `unfinished` where nothing says so."""
    return read_result(folder)["status"]


def read_run(folder: Path) -> tuple[Config, dict[str, Any]]:
    """Configuration and result of a finished run. Raises TransferError where there is none."""
    if not (folder / RESULT).exists() or not (folder / "config.yaml").exists():
        raise TransferError(f"{folder}: not a run folder (no {RESULT}); give the folder that a run printed at its end")
    result = json.loads((folder / RESULT).read_text())
    if result["status"] != "done":
        raise TransferError(f"{folder}: this run is {result['status']}, so it has no trained parameters; run it again")
    return parse(yaml.safe_load((folder / "config.yaml").read_text())), result


def upload(folder: Path) -> None:
    """Copy a run folder into W&B; offline unless WANDB_MODE says otherwise, so no account or network is needed."""
    _copy_run(folder, place=folder, group=None)
    _settle()


def upload_sweep(folder: Path) -> None:
    """Copy what is new in a sweep into W&B, one W&B run per run or per program as `track.per` says, and a summary run.

    The summary has the table of results and the page as an artifact, where the report has been written. All lies in
    FOLDER/wandb, so that `wandb sync FOLDER/wandb/offline-run-*` sends it.
    """
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


def sweep_name(folder: Path) -> str:
    """A sweep's name: that of its folder, with the one above where it is only a time."""
    resolved = folder.resolve()
    return f"{resolved.parent.name}/{resolved.name}" if resolved.name[:1].isdigit() else resolved.name

"""The run folder first, W&B from it: whatever reads a run reads these files."""

from __future__ import annotations

import io
import json
import math
import os
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from transfer.checkpoint import save_tree, write
from transfer.config import Config, parse
from transfer.errors import TransferError
from transfer.progress import Interrupted

LOG = "transfer.log"
CHECKPOINT, PARAMETERS, RESULT = "checkpoint.safetensors", "parameters.safetensors", "result.json"
PER_USER = "per_user.parquet"


# libyaml where it is there: the pure Python one takes 10 ms a file
Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def plain(value: Any) -> Any:
    """JSON values only: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    write(path, (json.dumps(plain(value), indent=2) + "\n").encode())


def open_run(folder: Path, config: Config) -> None:
    """Create the folder and say what will run: config.yaml (all of it) and hp.json (the traced part)."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (RESULT, PER_USER):
        (folder / old).unlink(missing_ok=True)  # an older run's result must not stand for this one
    for left in folder.glob(".*.[0-9]*"):  # what a killed write left
        left.unlink()
    traced = yaml.dump({"seed": config.seed, "hp": config.hp}, Dumper=Dumper, sort_keys=False)
    write(folder / "config.yaml", (_static_text(config.program_key(), config.resume, config.track) + traced).encode())
    write_json(folder / "hp.json", {"seed": config.seed, **config.hp})


@lru_cache(maxsize=8)
def _static_text(program: str, resume: bool, track: str) -> str:
    """The YAML of everything but seed and hp: made once for all runs of a program."""
    static = {**json.loads(program)[0], "resume": resume, "track": track}
    return yaml.dump(static, Dumper=Dumper, sort_keys=False)


def write_history(folder: Path, records: list[dict[str, Any]]) -> None:
    """metrics.jsonl: one object per evaluation."""
    lines = [json.dumps(plain(record)) for record in records]
    write(folder / "metrics.jsonl", "".join(f"{line}\n" for line in lines).encode())


def close_run(
    folder: Path,
    config: Config,
    result: dict[str, Any],
    records: list[dict[str, Any]],
    parameters: Any,
    per_user: pl.DataFrame | None = None,
    figure: bool = True,
) -> None:
    """Write what a finished run leaves; result.json comes last, so where it says `done` all the rest is there.

    per_user: the test values of every user (or example), kept as zstd Parquet; None (a diverged run) leaves none.
    figure: draw the learning curve (a sweep's page draws those of all its runs).
    """
    write_history(folder, records)
    if per_user is not None:
        table = io.BytesIO()
        per_user.write_parquet(table, compression="zstd")
        write(folder / PER_USER, table.getvalue())
    save_tree(folder / PARAMETERS, parameters, {"method": config.method.name, "id": result["id"]})
    if records and figure:
        from transfer.report.curve import learning_curve

        learning_curve(records, result, folder / "learning_curve.png")
    write_json(folder / RESULT, result)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    if config.track == "wandb":
        upload(folder)


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


def status(folder: Path) -> str:
    """How the run in a folder ended; `unfinished` where nothing says so."""
    path = folder / RESULT
    return json.loads(path.read_text())["status"] if path.exists() else "unfinished"


def read_run(folder: Path) -> tuple[Config, dict[str, Any]]:
    """Configuration and result of a finished run. Raises TransferError where there is none."""
    if not (folder / RESULT).exists() or not (folder / "config.yaml").exists():
        raise TransferError(f"{folder}: not a run folder (no {RESULT}); give the folder that a run printed at its end")
    result = json.loads((folder / RESULT).read_text())
    if result["status"] != "done":
        raise TransferError(f"{folder}: this run is {result['status']}, so it has no trained parameters; run it again")
    return parse(yaml.safe_load((folder / "config.yaml").read_text())), result


def upload(folder: Path) -> None:
    """Replay a run folder into W&B; offline unless WANDB_MODE says otherwise, so no account or network is needed."""
    import wandb

    config = yaml.safe_load((folder / "config.yaml").read_text())
    result = json.loads((folder / RESULT).read_text())
    settings = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False)
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "transfer"),
        mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
        dir=str(folder),
        id=f"{result['id']}-{folder.parent.name}"[:60],
        name=f"{config['method']['name']}-{config['seed']}",
        group=f"{config['domain']['name']}/{config['task']['name']}/{folder.parent.name}",
        tags=[config["domain"]["name"], config["method"]["name"], config["model"]["name"]],
        config=config,
        reinit="create_new",
        settings=settings,
    )
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        stage = record.pop("stage")
        run.log({f"{stage}/{name}": value for name, value in record.items() if value is not None})
    for part, metrics in result["metrics"].items():
        run.summary.update({f"{part}/{name}": value for name, value in metrics.items() if value is not None})
    run.summary.update({"status": result["status"], "seconds": result["seconds"]})
    run.finish()

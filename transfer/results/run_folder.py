"""The run folder first, W&B from it: whatever reads a run reads these files.

An ended run stays whole while its folder's next run is at work in FOLDER/.rerun, and gives way when that one has ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import traceback
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from transfer.config.schema import Config, Track, parse
from transfer.data.examples import featurise
from transfer.errors import MachineError, TransferError, one_line
from transfer.results.learning_curve import learning_curve
from transfer.storage import weights
from transfer.storage.damaged import POLARS
from transfer.storage.trees import save_tree, sweep_up, write

LOG = "transfer.log"
CHECKPOINT, PARAMETERS, RESULT = "checkpoint.safetensors", "parameters.safetensors", "result.json"
PER_USER, VALID_PER_USER, PROJECTION = "per_user.parquet", "valid_per_user.parquet", "projection.parquet"
CONFIG, HP, METRICS, CURVE = "config.yaml", "hp.json", "metrics.jsonl", "learning_curve.svg"
OF_A_RUN = (CONFIG, HP, METRICS, PER_USER, VALID_PER_USER, PROJECTION, PARAMETERS, CURVE, featurise.FILE, CHECKPOINT)
RERUN = ".rerun"
CHOICE = "choice.json"  # of sweep=auto
ENDED = ("done", "diverged")  # these have figures to lose


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


def open_run(folder: Path, config: Config, alone: bool = True) -> Path:
    """Say what will run, in config.yaml (all of it) and hp.json (the traced part): the folder where the run then writes.

    Raises TransferError where the folder has the ended run of another configuration, unless that may be given up.
    """
    place = place_of(folder)
    if alone:
        check_folder(folder, config)
    place.mkdir(parents=True, exist_ok=True)
    for old in (RESULT, PER_USER, VALID_PER_USER, PROJECTION, PARAMETERS):
        (place / old).unlink(missing_ok=True)  # an older attempt's result must not stand for this one
    sweep_up(place)
    traced = yaml.dump({"seed": config.seed, "hp": config.hp}, Dumper=Dumper, sort_keys=False)
    static = _static_text(config.program_key(), config.resume, config.track)
    write(place / CONFIG, (static + traced).encode(), alone)
    write_json(place / HP, {"seed": config.seed, **config.hp}, alone)
    return place


def check_folder(folder: Path, config: Config) -> None:
    """Raises TransferError where a folder has the ended run of another configuration; with resume=false it may."""
    facts = read_result(folder)
    if config.resume and facts["status"] in ENDED and facts.get("identity") != config.identity():
        names = ", ".join(f"{key}={facts[key]}" for key in ("domain", "method", "seed") if key in facts)
        raise TransferError(
            f"{folder} has the finished run of another configuration ({names}); give another folder, "
            "or resume=false to put this run in its place"
        )


def place_of(folder: Path) -> Path:
    """Where the next run of a folder writes: beside an ended run and not over it."""
    place = folder / RERUN
    if status(folder) == "unfinished" and status(place) in ENDED:  # killed while one gave way to the other
        replace_run(place)
    return place if status(folder) in ENDED else folder


def replace_run(place: Path) -> Path:
    """Put a run that has ended in the place of the older one, whose result.json goes first and comes last: its folder."""
    if place.name != RERUN:
        return place
    folder = place.parent
    (folder / RESULT).unlink(missing_ok=True)
    for old in OF_A_RUN:
        (folder / old).unlink(missing_ok=True)
    for path in sorted(place.iterdir(), key=lambda path: path.name == RESULT):
        path.replace(folder / path.name)
    place.rmdir()
    return folder


def last_attempt(folder: Path) -> dict[str, Any]:
    """The result.json of a folder's latest run, also of one that failed and so left an older run in its place."""
    place = folder / RERUN
    return read_result(place if place.is_dir() else folder)


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
    write(folder / METRICS, "".join(f"{line}\n" for line in lines).encode(), alone)
    for name, table in tables.items():
        content = io.BytesIO()
        table.write_parquet(content, compression="zstd")
        write(folder / name, content.getvalue(), alone)
    if config.track.parameters:
        save_tree(folder / PARAMETERS, parameters, {"method": config.method.name, "id": result["id"]}, alone)
    if records and alone:
        write(folder / CURVE, learning_curve(records, result).encode())


def finish_runs(folders: Sequence[Path], results: Sequence[dict[str, Any]], alone: bool = True) -> None:
    """Write result.json of the runs of a program, last: where it says `done`, all the rest is on the disk."""
    if not alone:
        os.sync()
    for folder, result in zip(folders, results, strict=True):
        write_json(folder / RESULT, result, alone)
        (folder / CHECKPOINT).unlink(missing_ok=True)


def fail_run(folder: Path, config: Config, error: BaseException) -> None:
    """Leave a result.json that says how a run ended without a result: `interrupted`, or `failed` with the error's line.

    `machine` is true where the same command is to take it up again. A run that has just ended keeps its result; a disk
    that takes nothing more leaves the run unfinished.
    """
    if status(folder) in ENDED:
        return
    interrupted = isinstance(error, KeyboardInterrupt)
    said = error if isinstance(error, OSError) else next(iter(str(error).splitlines()), "") or type(error).__name__
    line = one_line(said)
    how: dict[str, Any] = {"status": "interrupted"} if interrupted else {"status": "failed", "error": line}
    how |= {"machine": True} if _of_the_machine(error) else {}
    names = {"domain": config.domain.name, "task": config.task.name, "method": config.method.name, "seed": config.seed}
    names |= {"split_seed": config.split.seed, "identity": config.identity()}
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RESULT, {**how, "metrics": {"valid": {}, "test": {}}, **names})
        if not interrupted:
            with (folder / LOG).open("a") as log:
                log.writelines(traceback.format_exception(error))


def _of_the_machine(error: BaseException) -> bool:
    """Whether memory, disk or a process failed and not the run: faults of settings and data are TransferErrors."""
    return isinstance(error, MachineError | OSError | MemoryError)


def refuse_run(folder: Path, error: str, overrides: list[str]) -> None:
    """Leave a result.json of a job that cannot run, where its run has not done so itself."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / RESULT).exists():
        return
    names = dict(word.lstrip("+").split("=", 1) for word in overrides if "=" in word)
    known = {key: names[key] for key in ("domain", "task", "method", "seed") if key in names}
    line = one_line(error)
    write_json(folder / RESULT, {"status": "failed", "error": line, "metrics": {"valid": {}, "test": {}}, **known})


def read_result(folder: Path) -> dict[str, Any]:
    """result.json of a run; status `unfinished` where there is none, or where a crash of the machine left half of it."""
    try:
        facts = json.loads((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        facts = None
    known = isinstance(facts, dict) and isinstance(facts.get("status"), str)
    return facts if known else {"status": "unfinished", "metrics": {"valid": {}, "test": {}}}


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Every evaluation of a run; none where the file of them is not there or damaged."""
    try:
        return [json.loads(line) for line in (folder / METRICS).read_bytes().splitlines()]
    except (OSError, ValueError):
        return []


def read_values(folder: Path) -> pl.DataFrame | None:
    """The test values of every user (or example) of a run; None where it was not tested, or the file is damaged."""
    try:
        return pl.read_parquet(folder / PER_USER)
    except (*POLARS, OSError):
        return None


def status(folder: Path) -> str:
    """How the run in a folder ended; `unfinished` where nothing says so."""
    return read_result(folder)["status"]


def parameters_of(folder: Path) -> Path:
    """The file of a finished run's parameters. Raises TransferError where there is none."""
    path = folder / PARAMETERS
    if not path.is_file():
        raise TransferError(f"{path}: not there; run it again with track.parameters=true (the default), which keeps it")
    return path


def initial_parameters(given: str | None) -> Path | None:
    """The file of parameters that `init_from` names: itself, or that of a finished run; None where nothing is named."""
    if given is None:
        return None
    path = Path(given)
    if (path / RESULT).exists():
        read_run(path)  # raises where it has not ended well
        return parameters_of(path)
    if not path.is_file():
        raise TransferError(f"init_from={given}: neither the folder of a run nor a .safetensors file")
    return path


def initial_fingerprint(given: str | None) -> str:
    """A hash of the parameters that a run starts from ("": it starts afresh). Raises TransferError where there are none."""
    path = initial_parameters(given)
    return weights.fingerprint(path) if path else ""


def read_run(folder: Path) -> tuple[Config, dict[str, Any]]:
    """Configuration and result of a finished run. Raises TransferError where there is none."""
    if not (folder / RESULT).exists() or not (folder / CONFIG).exists():
        raise TransferError(f"{folder}: not a run folder (no {RESULT}); give the folder that a run printed at its end")
    result = json.loads((folder / RESULT).read_text())
    if result["status"] != "done":
        raise TransferError(f"{folder}: this run is {result['status']}, so it has no trained parameters; run it again")
    return parse(yaml.safe_load((folder / CONFIG).read_text())), result


def sweep_name(folder: Path) -> str:
    """A sweep's name: that of its folder, with the one above where it is only a time."""
    resolved = folder.resolve()
    return f"{resolved.parent.name}/{resolved.name}" if resolved.name[:1].isdigit() else resolved.name

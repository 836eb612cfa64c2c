"""One command of `transfer`: what Hydra is asked before it touches a folder, and what the command ends with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from transfer.console import say
from transfer.errors import TransferError, one_line
from transfer.storage import lock

OF_SWEEPS = ("engine", "retry", "sweep", "dry_run")  # choices that have no effect on a single run
ALONE = "processes= is for one run; the runs of a sweep go to a cluster with engine=ray or engine=slurm"
NUMBERED = "${hydra.job.num}"
_failed: set[Path] = set()


def note_failed(folder: Path) -> None:
    """Count a run of this command that has no figures."""
    _failed.add(folder)


def close() -> int:
    """End the command: its locks are let go of. The exit code: 1 where a run of it failed, else 0."""
    lock.release()
    code = 1 if _failed else 0
    _failed.clear()
    return code


class Start(Callback):
    """Hydra calls this when it has composed the command and written nothing: what is wrong ends it with exit code 2.

    (An exception would be taken for a fault of the callback and passed over.)
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            start_run(config)
        except (TransferError, OSError) as error:
            _refuse(error)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            start_sweep(config)
        except (TransferError, OSError) as error:
            _refuse(error)


def _refuse(error: Exception) -> None:
    say(f"error: {one_line(error)}", style="red")
    sys.exit(2)


def start_run(config: DictConfig) -> None:
    """Check a single run and take its folder. Raises TransferError for what cannot run, with nothing changed."""
    from transfer.config.schema import parse
    from transfer.results import run_folder
    from transfer.results.trackers import copies

    for word in config.hydra.overrides.task:
        key = word.lstrip("+~").partition("=")[0].partition("@")[0]
        if (key if key == "sweep" else key.partition(".")[0]) in OF_SWEEPS:
            raise TransferError(f"{word}: for many runs, which -m makes; write transfer -m ..., or leave it out")
    run, folder = parse(config), Path(str(config.hydra.run.dir))
    copies.wanted(run.track)
    lock.hold(folder)
    run_folder.check_folder(folder, run)


def start_sweep(config: DictConfig) -> None:
    """Check what a sweep is asked for and take its folder. Raises TransferError for what would not be heeded."""
    if config.processes != 1:
        raise TransferError(ALONE)
    if config.dry_run:
        if not str(config.hydra.sweeper.get("_target_", "")).endswith(".TransferSweeper"):
            raise TransferError("dry_run=true lists a grid; what other sweeps run depends on what they find: leave it out")
        return
    given = config.hydra.sweeper.get("direction")
    directions = given if OmegaConf.is_list(given) else [given]
    if any("minimize" in str(direction) for direction in directions):
        raise TransferError(
            "hydra.sweeper.direction=minimize: leave it at maximize; a run gives sweepers what is higher for the better "
            "run, whatever the metric (an RMSE with its sign turned)"
        )
    if not str(config.hydra.launcher.get("_target_", "")).endswith(".TransferLauncher"):
        return  # its jobs are single runs, with a lock each
    subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
    if subdir != NUMBERED:
        raise TransferError(
            f"hydra.sweep.subdir={subdir}: the runs of a sweep lie in folders named by their numbers; leave it out "
            "(hydra.sweep.dir chooses the sweep's folder, and .hydra/overrides.yaml of a run has its words)"
        )
    lock.hold(Path(str(config.hydra.sweep.dir)))

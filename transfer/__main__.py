"""The command: one run, or with -m a sweep. `transfer --help` explains it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from transfer.api import config_folder, one_line
from transfer.help import register


@hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")
def task(raw: DictConfig) -> float:
    """Run one composed configuration; returns the validation metric that sweepers optimise."""
    from transfer.config import parse
    from transfer.errors import TransferError
    from transfer.experiment import run_batch
    from transfer.progress import Interrupted, console
    from transfer.report.table import print_run
    from transfer.track import refuse_run
    from transfer.wandb_copy import upload

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    try:
        result = run_batch([parse(raw)], [folder])[0]
    except TransferError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        if hydra_config.mode == RunMode.MULTIRUN:
            refuse_run(folder, str(error), list(hydra_config.overrides.task))
            return float("nan")
        sys.exit(2)
    except Interrupted:
        again = shlex.join(["transfer", *hydra_config.overrides.task, f"hydra.run.dir={folder}"])
        console.print(f"interrupted; to go on: {again}", soft_wrap=True, markup=False, highlight=False)
        sys.exit(130)
    if result.config.track.name == "wandb" and hydra_config.mode == RunMode.RUN:  # a sweep is copied at its end
        upload(folder)
    print_run(result, short=hydra_config.mode == RunMode.MULTIRUN)
    return result.objective


def main() -> None:
    """Entry point of the console command."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from transfer.errors import TransferError
    from transfer.progress import console

    register()
    # Hydra would print its own errors over many lines; asked to raise them, they can be told in one like ours
    asked = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        task()
    except (HydraException, OmegaConfBaseException, TransferError, OSError) as error:  # a full disk, too
        if asked == "1":
            raise
        console.print(f"error: {one_line(error)}", style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(2)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = asked


if __name__ == "__main__":
    main()

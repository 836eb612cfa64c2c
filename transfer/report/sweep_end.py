"""The end of a multirun: the comparison on the screen and the report in its folder. Hydra imports this at every -m."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepTable(Callback):
    """Hydra calls this when all jobs have ended."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        end_sweep(Path(config.hydra.sweep.dir))


def end_sweep(folder: Path) -> None:
    """Table, report, what sweep=auto chose, and the copy in W&B where the runs ask for one; a fault of the report never
    costs the runs."""
    from transfer.console import wide_console
    from transfer.report.comparison.files import clean, read_choice
    from transfer.report.page.page import write_report
    from transfer.report.sweep_table import print_sweep
    from transfer.results import wandb_copy
    from transfer.results.run_folder import CHOICE

    runs = print_sweep(folder)
    if not runs:
        return
    console = wide_console()
    try:
        console.print(f"report: {write_report(folder, runs)}", soft_wrap=True, markup=False, highlight=False)
        if (folder / CHOICE).exists():
            console.print(clean(read_choice(folder / CHOICE).text, 3000), markup=False, highlight=False)
        if any(run.config.get("track.name") == "wandb" for run in runs):
            wandb_copy.upload_sweep(folder)
    except Exception as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        console.print(f"the runs are complete, their report is not: {line}; mend it and write", style="red", markup=False)
        console.print(f"transfer report {folder}", soft_wrap=True, markup=False, highlight=False)

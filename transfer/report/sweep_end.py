"""The end of a multirun: the comparison on the screen and the report in its folder. Hydra imports this at every -m."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

if TYPE_CHECKING:
    from transfer.report.comparison.runs import Run


class SweepTable(Callback):
    """Hydra calls this when all jobs have ended."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        end_sweep(Path(config.hydra.sweep.dir))


def end_sweep(folder: Path) -> None:
    """Table, report, what sweep=auto chose, and the copies in a tracker where the runs ask for it; a fault of the report
    never costs the runs."""
    from transfer.console import wide_console
    from transfer.report.comparison.files import paragraphs, read_choice
    from transfer.report.page.page import write_report
    from transfer.report.sweep_table import print_sweep
    from transfer.results.run_folder import CHOICE
    from transfer.results.trackers import copies

    runs = print_sweep(folder)
    if not runs:
        return
    console = wide_console()
    try:
        console.print(f"report: {write_report(folder, runs)}", soft_wrap=True, markup=False, highlight=False)
        if (folder / CHOICE).exists():
            for line in paragraphs(read_choice(folder / CHOICE)):
                console.print(line, markup=False, highlight=False)
        if any(run.config.get("track.name", "none") != "none" for run in runs):
            copies.copy_sweep(folder, *verdicts(runs))
    except Exception as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        console.print(f"the runs are complete, their report is not: {line}; mend it and write", style="red", markup=False)
        console.print(f"transfer report {folder}", soft_wrap=True, markup=False, highlight=False)


def verdicts(runs: list[Run]) -> tuple[dict[Path, dict[str, Any]], dict[str, Any]]:
    """What trackers say of the comparison: by the folder of a chosen setting's run its verdict, and all of them by name."""
    from transfer.report.comparison.compare import compare
    from transfer.report.comparison.reference import reference_name

    by_run: dict[Path, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    comparisons = compare(runs, pairs=False)
    for comparison in comparisons:
        for setting in comparison.best:
            if (gap := comparison.gap(setting.method)) is None:
                continue
            paired, name = gap.paired, setting.method if len(comparisons) == 1 else f"{comparison.title}/{setting.method}"
            facts = {"gap": paired.difference, "gap_low": paired.low, "gap_high": paired.high, "verdict": gap.verdict}
            facts = {key: value for key, value in facts.items() if value == value}  # one split has no interval
            facts["reference"] = reference_name(comparison)
            by_run |= {run.folder: {f"setting/{key}": value for key, value in facts.items()} for run in setting.runs}
            whole |= {f"{name}/{key}": value for key, value in facts.items()}
    return by_run, whole

"""The end of a multirun: the comparison on the screen, every run's gap to the reference, and the report in its folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from transfer.report.comparison import Comparison, Setting
    from transfer.report.runs import Run


class SweepTable(Callback):
    """Hydra calls this when all jobs have ended."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        end_sweep(Path(config.hydra.sweep.dir))


def end_sweep(folder: Path) -> None:
    """Table, report, and the copy in W&B where the runs ask for one; a fault of the report never costs the runs."""
    from transfer import wandb_copy
    from transfer.report.report import write_report

    runs = print_sweep(folder)
    if not runs:
        return
    console = _console()
    try:
        console.print(f"report: {write_report(folder, runs)}", soft_wrap=True, markup=False, highlight=False)
        if any(run.config.get("track.name") == "wandb" for run in runs):
            wandb_copy.upload_sweep(folder)
    except Exception as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        console.print(f"the runs are complete, their report is not: {line}; mend it and write", style="red", markup=False)
        console.print(f"python scripts/report.py {folder}", soft_wrap=True, markup=False, highlight=False)


def print_sweep(folder: Path) -> list[Run]:
    """Write every run's gap to the reference into its result.json, print the tables of the sweep in `folder`."""
    from transfer.report.average import averages
    from transfer.report.compare import compare
    from transfer.report.runs import read_runs

    runs = read_runs(folder)
    if not runs:
        return []
    console = _console()
    comparisons = compare(runs, pairs=False)
    for found in comparisons:
        write_gaps(found)
        console.print(sweep_table(found))
    for found in averages(comparisons):
        console.print(sweep_table(found))
    for run in runs:
        if not run.done:
            console.print(f"{run.folder.name}: {run.status} {run.error}", style="red", markup=False)
    console.print(f"run folders: {folder}", soft_wrap=True)
    return runs


def _console() -> Console:
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=140)


def write_gaps(found: Comparison) -> None:
    """Into every result.json, where it is new: the test metrics minus those of the reference on the same world and seed."""
    from transfer.report.comparison import reference_name
    from transfer.track import RESULT, write_json

    name = reference_name(found)
    for run in (run for one in found.settings for run in one.runs):
        gap = gap_of(run, found)
        if gap and run.result.get("gap") != {name: gap}:
            run.result["gap"] = {name: gap}
            write_json(run.folder / RESULT, run.result, flush=False)


def gap_of(run: Run, found: Comparison) -> dict[str, float]:
    """Test metrics minus those of the chosen reference on the same world and seed; empty where there is no such run."""
    from transfer.report.comparison import reference

    base = reference(found)
    other = next((other for other in base.runs if other.pair == run.pair), None) if base else None
    if other is None:
        return {}
    mine, theirs = (each.result["metrics"].get("test", {}) for each in (run, other))
    both = [name for name in mine if mine[name] is not None and theirs.get(name) is not None]  # AUC may be unknown
    return {name: mine[name] - theirs[name] for name in both}


def sweep_table(found: Comparison) -> Table:
    """One row per setting: how many runs, test metrics as mean ± std, and the gap with its interval and verdict."""
    from transfer.report.comparison import reference_name

    select = found.metric
    keys = list(dict.fromkeys(key for one in found.settings for key in one.label))
    keys = [key for key in keys if key == "method" or len({one.label.get(key) for one in found.settings}) > 1]
    names = [name for name in shown(select) if name in found.facts["metrics"][found.part]]
    table = Table(
        title=f"{found.title}: {found.part_name} figures of {len(found.runs)} runs, mean ± std; * best setting of its "
        f"method on validation; gap = difference to {reference_name(found)}, same world and seed",
    )
    for key in keys:
        table.add_column(key)
    for column in ("runs", *names, f"gap in {select}", "95 % interval", "verdict"):
        table.add_column(column, justify="right", no_wrap=True)
    alone = len(found.settings) == len(found.best)
    for one in found.settings:
        values = [[run.metric(found.part, name) for run in one.runs] for name in names]
        cells = [spread(value for value in of if value is not None) for of in values]
        gap = spread((g[select] for run in one.runs if (g := gap_of(run, found))), sign="+")
        label = [one.label.get(key) or str(one.values.get(key, "-")) for key in keys]
        label[0] += " *" if one.best and not alone else ""
        table.add_row(*label, count(one), *cells, gap, *_verdict(one, found))
    return table


def count(one: Setting) -> str:
    """Finished runs, and of how many."""
    return f"{len(one.runs)}" + (f" of {one.planned}" if len(one.runs) < one.planned else "")


def _verdict(one: Setting, found: Comparison) -> tuple[str, str]:
    gap = found.gap(one.method) if one.best else None
    if gap is None:
        return "", ""
    known = np.isfinite(gap.paired.low)
    return (f"{gap.paired.low:+.4f} … {gap.paired.high:+.4f}" if known else "-"), gap.verdict


def shown(select: str) -> list[str]:
    """The selected metric and those that people read beside it."""
    if "@" not in select:
        return list(dict.fromkeys([select, "rmse", "mae", "accuracy", "macro_f1"]))
    k = select.rpartition("@")[2]
    prefix = f"{select.partition('_')[0]}_" if select.startswith("sampled") else ""
    return list(dict.fromkeys([select, *(f"{prefix}{name}@{k}" for name in ("ndcg", "recall", "hit"))]))


def spread(values: Iterable[float], sign: str = "") -> str:
    """mean ± sample standard deviation (without it for a single value, a dash for none)."""
    numbers = list(values)
    if not numbers:
        return "-"
    deviation = f" ± {np.std(numbers, ddof=1):.4f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):{sign}.4f}{deviation}"

"""W&B: an entry is one of its runs, offline below FOLDER/wandb unless WANDB_MODE or an agent says otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from transfer.results.trackers.entry import Entry, Facts, Writer

TABLE = ".parquet"


@contextmanager
def session(place: Path) -> Iterator[Callable[[Entry, bool], Writer | None]]:
    """Begin entries in `place`/wandb, so that `wandb sync FOLDER/wandb/offline-run-*` sends them.

    `finish` alone returns before the last lines are in the files: at the end W&B's service process is ended, unless
    somebody else in this process has a run.
    """
    import wandb

    try:
        yield lambda entry, again: _begun(entry, place, again)
    finally:
        if wandb.run is None:
            wandb.teardown()


def _begun(entry: Entry, place: Path, again: bool) -> Writer | None:
    """A W&B run of this entry; None where it is there already and is not taken up again.

    What a training process would be watched for (its machine, its console, its code and packages) is switched off: this
    tells of runs, and one service process takes all of them.
    """
    import wandb

    agent = "WANDB_SWEEP_ID" in os.environ  # it has chosen the id and the project
    if not again and not agent and any(place.glob(f"wandb/*run-*-{entry.key}")):
        return None
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if agent else "offline")
    run = wandb.init(
        project=None if agent else os.environ.get("WANDB_PROJECT", "transfer"),
        mode=mode,
        dir=str(place),
        id=None if agent else entry.key,
        resume="allow" if again and mode == "online" else None,
        name=entry.name,
        group=entry.group,
        job_type=entry.kind,
        tags=[*entry.tags.values()],
        config=dict(entry.config),
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
    )
    stages = set[str]()

    def log(stage: str, step: int, values: Facts) -> None:
        if stage not in stages:  # curves over the steps of their own stage
            stages.add(stage)
            run.define_metric(f"{stage}/step", hidden=True)
            run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            if entry.metric:
                best = "max" if entry.sign > 0 else "min"
                run.define_metric(f"{stage}/{entry.metric}", step_metric=f"{stage}/step", summary=best)
        run.log({f"{stage}/step": step, **{f"{stage}/{name}": value for name, value in values.items()}})

    def end(summary: Facts) -> None:
        for path in entry.files:
            if path.suffix == TABLE:
                rows = pl.read_parquet(path)
                run.log({"results": wandb.Table(columns=[*rows.columns], data=[list(row) for row in rows.iter_rows()])})
            else:
                report = wandb.Artifact(f"report-{run.id}", type="report")
                report.add_file(str(path))
                run.log_artifact(report)
        run.summary.update(dict(summary))
        run.finish()

    return Writer(log, end)

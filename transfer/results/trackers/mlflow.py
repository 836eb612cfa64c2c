"""MLflow: an entry is one of its runs, in FOLDER/mlflow.db unless MLFLOW_TRACKING_URI names another place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer.results.trackers.entry import Entry, Facts, Writer, stepped

KEY, LONGEST = "transfer.key", 5000  # the tag that finds an entry again; characters of a parameter
METRICS, PARAMETERS = 1000, 100  # that are logged at once
STATUS = {"failed": "FAILED", "diverged": "FAILED", "interrupted": "KILLED"}


@contextmanager
def session(place: Path) -> Iterator[Callable[[Entry, bool], Writer | None]]:
    """Begin entries in the experiment MLFLOW_EXPERIMENT_NAME, `transfer` where that is not set.

    `@` may not be in the names of its metrics: ndcg@10 is ndcg_at_10 there.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent that nobody asked for
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    ours = f"sqlite:///{place.resolve() / 'mlflow.db'}"
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or ours)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "transfer"
    known = client.get_experiment_by_name(name)
    artifacts = None if os.environ.get("MLFLOW_TRACKING_URI") else (place.resolve() / "mlartifacts").as_uri()
    experiment = known.experiment_id if known else client.create_experiment(name, artifact_location=artifacts)

    def begin(entry: Entry, again: bool) -> Writer | None:
        there = client.search_runs([experiment], f"tags.`{KEY}` = '{entry.key}'")
        if there and not again:
            return None
        if there:
            run = there[0].info.run_id
            client.update_run(run, status="RUNNING")
        else:
            tags = {KEY: entry.key, "kind": entry.kind, **entry.tags, **({"group": entry.group} if entry.group else {})}
            run = client.create_run(experiment, run_name=entry.name, tags=tags).info.run_id
            params = [Param(key, str(value)[:LONGEST]) for key, value in _flat(entry.config)]
            for first in range(0, len(params), PARAMETERS):
                client.log_batch(run, params=params[first : first + PARAMETERS])

        def add(prefix: str, step: int, values: Facts) -> None:
            now = int(1000 * time.time())
            numbers = [(f"{prefix}{name}".replace("@", "_at_"), x) for name, x in values.items() if not isinstance(x, str)]
            metrics = [Metric(name, float(value), now, step) for name, value in numbers]
            tags = [RunTag(f"{prefix}{name}", value) for name, value in values.items() if isinstance(value, str)]
            for first in range(0, max(len(metrics), 1), METRICS):
                client.log_batch(run, metrics[first : first + METRICS], tags=tags if first == 0 else ())

        def close(summary: Facts) -> None:
            for path in entry.files:
                client.log_artifact(run, str(path))
            client.set_terminated(run, STATUS.get(str(summary.get("status")), "FINISHED"))

        return stepped(add, close)

    yield begin


def _flat(config: Facts, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a nested configuration."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

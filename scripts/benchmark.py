"""Measure the speed of sweeps: `python scripts/benchmark.py sweep [overhead|processes|replicas ...]`.

Every figure is a ratio or a share within one run of this script: absolute seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TINY = [
    "task=rating",
    "domain.users=200",
    "domain.source_items=80",
    "domain.target_items=60",
    "domain.source_events=15",
    "domain.target_events=8",
    "model.dim=8",
    "train.batch_size=256",
    "train.epochs=2",
    "train.progress=false",
]
REAL = ["domain=amazon_movies_books", "split=ratio", "method=target_only", "train.batch_size=4096", "train.progress=false"]
RATES = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03]


def overhead(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds per job that are not training: many jobs of a tiny model, and fewer through Hydra's basic launcher."""

    def share(jobs: int, *more: str) -> float:
        rates = ",".join(str(round(0.001 + 0.0001 * i, 4)) for i in range(10))
        folder = _temporary()
        words = [*TINY, f"seed=range({jobs // 10})", f"hp.learning_rate={rates}", f"hydra.sweep.dir={folder}", *more]
        began = time.perf_counter()
        _transfer("-m", *words)
        wall = time.perf_counter() - began
        results = [json.loads(path.read_text()) for path in folder.glob("*/result.json")]
        assert len(results) == jobs
        assert all(result["status"] == "done" for result in results)
        programs = {json.dumps(result["seconds"]): result["seconds"] for result in results}.values()
        inside = sum(p["load"] + p["compile"] + p["train"] + p["evaluate"] for p in programs)
        return 1000 * (wall - inside) / jobs

    _transfer("-m", *TINY, "seed=0,1", f"hydra.sweep.dir={_temporary()}")  # compiles and warms the disk
    return {
        "jobs": arguments.jobs,
        "ms_per_job": share(arguments.jobs),
        "ms_per_job_without_report": share(arguments.jobs, "~hydra.callbacks.table"),
        "ms_per_job_basic_launcher": share(20, "hydra/launcher=basic"),
    }


def processes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall seconds of a grid of 8 learning rates x seeds: one sweep here, Hydra's joblib launcher, one process per run."""
    seeds = arguments.runs // len(RATES)
    data = f"data_dir={arguments.data_dir}"
    grid = [*REAL, data, "hp.learning_rate=" + ",".join(map(str, RATES)), f"seed=range({seeds})"]

    def sweep(*more: str) -> float:
        folder, began = _temporary(), time.perf_counter()
        _transfer("-m", *grid, f"hydra.sweep.dir={folder}", *more)
        wall = time.perf_counter() - began
        statuses = [json.loads(path.read_text())["status"] for path in folder.glob("*/result.json")]
        assert statuses == ["done"] * arguments.runs, statuses
        return wall

    _transfer(*REAL, data, f"hydra.run.dir={_temporary()}")  # so that nobody pays for the first compilation
    seconds = {"inprocess": sweep("engine=inprocess"), "joblib engine": sweep("engine=joblib")}
    seconds["Hydra's joblib launcher"] = sweep("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    running: list[subprocess.Popen[bytes]] = []
    began, waiting = time.perf_counter(), [(r, s) for r in RATES for s in range(seeds)]
    while waiting or running:
        while waiting and len(running) < 2:
            rate, seed = waiting.pop()
            words = [*REAL, data, f"hp.learning_rate={rate}", f"seed={seed}", f"hydra.run.dir={_temporary()}"]
            running.append(subprocess.Popen([sys.executable, "-m", "transfer", *words], stdout=subprocess.DEVNULL))
        running = [process for process in running if process.poll() is None]
        time.sleep(0.02)
    seconds["separate processes, 2 at a time"] = time.perf_counter() - began
    ours = min(seconds["inprocess"], seconds["joblib engine"])
    return {"runs": arguments.runs, "seconds": seconds, "times_ours": {name: s / ours for name, s in seconds.items()}}


def replicas(arguments: argparse.Namespace) -> dict[str, Any]:
    """Microseconds per replica and step for 1, 4, 16 and 64 replicas by vmap, map and loop, and what `auto` picks."""
    import jax

    from transfer.api import compose
    from transfer.experiment.build import build_program, build_task, load_world, replicas_of
    from transfer.experiment.checks import check_settings
    from transfer.training.compiler import Compiler, resolve
    from transfer.training.loop import make_block, plan, start

    table: dict[str, dict[str, float]] = {}
    for name, words in {"tiny": TINY, "amazon_movies_books": [*REAL, f"data_dir={arguments.data_dir}"]}.items():
        config = check_settings(compose(words))
        world = load_world(config).world
        task = build_task(config, world)
        stage: Any = build_program(config, world, task).stages[0]
        length, total = plan(stage, world, config.train)
        block = make_block(stage, task, config.train, total, length)
        for count in (1, 4, 16, 64):
            rows = replicas_of([config.model_copy(update={"seed": seed}) for seed in range(count)])
            for mode in ("vmap", "map", "loop"):
                run = Compiler(mode, {}, {})
                state = start(stage, world, {}, rows, run)

                each: Any = (state, {}, rows)
                jax.block_until_ready(run("block", block, world, each))  # compiles
                began, times = time.perf_counter(), 0
                while time.perf_counter() - began < 0.5 or times < 3:
                    jax.block_until_ready(run("block", block, world, each))
                    times += 1
                micros = 1e6 * (time.perf_counter() - began) / (times * count * length)
                table.setdefault(f"{name}, {count} replicas", {})[mode] = round(micros, 1)
    return {"device": str(jax.devices()[0]), "auto": resolve("auto"), "microseconds_per_replica_step": table}


PARTS = {"overhead": overhead, "processes": processes, "replicas": replicas}


def _transfer(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "transfer", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(dir=SCRATCH))


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["sweep"])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the overhead figure (default 1000)")
    parser.add_argument("--runs", type=int, default=64, help="runs of the comparison with processes (default 64)")
    parser.add_argument("--data-dir", default=os.environ.get("TRANSFER_DATA", "."), help="folder of amazon-movies-books")
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        print(json.dumps({part: PARTS[part](arguments)}, indent=2), flush=True)


if __name__ == "__main__":
    SCRATCH = tempfile.mkdtemp(prefix="benchmark-")
    try:
        main()
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)

"""One card in at most eight minutes: sweeps, long tables, ranking, SASRec, scatter-add, `implicit`; ratios and fractions.

Without a card all of it runs on the CPU, smaller (--scale), to be tried out: the table is then written where --out says or
nowhere. PyTorch and `implicit` (pip install implicit) are compared with where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import card
from benchmarks.measuring import Row, best_of, in_turns, scratch, transfer, wall_seconds

SIMULATED = ("domain=simulated", "split=ratio", "train.progress=false", "train.keep=last")
RUNS, SEPARATE = 64, 2  # of a sweep; and those of them that are measured as processes of their own
ROWS, DIM, EVENTS = (10**5, 10**6, 10**7), 32, 4096
USERS, ITEMS = 10**5, 10**5


def measure(arguments: argparse.Namespace) -> list[Row]:
    # children need memory on the card, too
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    scale = scale_of(arguments)
    rows: list[Row] = []
    for name, part in WORK.items():
        began = time.perf_counter()
        rows += part(scale, arguments.turns)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return rows


def facts(arguments: argparse.Namespace) -> dict[str, object]:
    """What is said of the machine beside what every part says."""
    return {"scale": scale_of(arguments), **card.facts(scale_of(arguments))}


def not_kept(arguments: argparse.Namespace) -> str | None:
    """Why the table is not one to keep; None where it is."""
    scale = scale_of(arguments)
    if not on_card():
        return f"there is no card here, these are figures of a CPU at scale {scale:g}"
    return f"the work was smaller than it should be, at scale {scale:g}" if scale < 1 else None


def scale_of(arguments: argparse.Namespace) -> float:
    """How large the work is: all of it on a card, a thousandth without, unless something is said."""
    return arguments.scale or (1.0 if on_card() else 0.001)


def on_card() -> bool:
    import jax

    return jax.default_backend() != "cpu"


def _scaled(size: int, scale: float, least: int) -> int:
    return max(least, int(size * scale))


def _sweep(scale: float, turns: int) -> list[Row]:
    """Wall seconds of processes, one after another, in units of one sweep of as many runs; compiled before."""
    runs = _scaled(RUNS, scale, 4)
    words = [*SIMULATED, "method=target_only", f"train.epochs={_scaled(100, scale, 4)}"]

    def sweep() -> float:
        return wall_seconds(transfer("-m", *words, f"seed=range({runs})", f"hydra.sweep.dir={scratch()}"))

    def process(seed: int) -> float:
        return wall_seconds(transfer(*words, f"seed={seed}", f"hydra.run.dir={scratch()}"))

    def warm() -> None:
        sweep()
        process(0)

    ours = f"one sweep of {runs} runs"
    theirs = f"{runs} processes one after another, from {SEPARATE} that were measured"
    separate = lambda: sum(map(process, range(SEPARATE))) / SEPARATE * runs  # noqa: E731
    return in_turns({ours: sweep, theirs: separate}, ours, min(turns, 3), warm)


def _scatter(scale: float, turns: int) -> list[Row]:
    """A step of cmf without the flag that gives atomic additions back, in units of one with it; each in a process."""
    from transfer.training.accelerator import ATOMIC

    words = (*SIMULATED, "method=cmf", f"train.batch_size={_scaled(EVENTS, scale, 64)}", "model.dim=64")
    command = [sys.executable, "-m", "benchmarks.one_step", *words]

    def seconds(*flags: str) -> float:
        others = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag != ATOMIC]
        environment = {**os.environ, "XLA_FLAGS": " ".join([*others, *flags])}
        folder = Path(__file__).parents[1]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return float(done.stdout)

    with_flag = f"a step of cmf with {ATOMIC.partition('=')[2]}"
    measured: Mapping[str, Callable[[], float]] = {with_flag: partial(seconds, ATOMIC), "the same without": seconds}
    return in_turns(measured, with_flag, min(turns, 3))


def _tables(scale: float, turns: int) -> list[Row]:
    """A step of BPR-MF by the length of its two tables and how they are updated.

    Adam on whole tables reads parameters, both moments and the gradient, and writes all but the gradient.
    """
    measured = {named(how, n): long_step(how, n, scale) for n in lengths(scale) for how in ("late", "dense")}
    rows = lengths(scale)[1]
    dense = card.Work(named("dense", rows), measured[named("dense", rows)], 7 * 4.0 * 2 * rows * DIM)
    return [*in_turns(measured, named("late", lengths(scale)[0]), turns), *card.fractions([dense], min(turns, 3), scale)]


def lengths(scale: float) -> list[int]:
    return [_scaled(n, scale, 500) for n in ROWS]


def named(how: str, rows: int) -> str:
    return f"a step of BPR-MF, tables of {rows:,} rows, train.tables={how}"


def long_step(how: str, rows: int, scale: float) -> Callable[[], float]:
    from benchmarks.long_tables import world_of
    from benchmarks.steps import step

    sizes = (f"train.batch_size={_scaled(EVENTS, scale, 64)}", f"model.dim={DIM}", f"train.tables={how}")
    return step((*SIMULATED, "method=target_only", *sizes), world_of(rows, rows))


def _ranking(scale: float, turns: int) -> list[Row]:
    return card.fractions([card.ranking(_scaled(USERS, scale, 200), _scaled(ITEMS, scale, 200), 64)], min(turns, 3), scale)


def _sasrec(scale: float, turns: int) -> list[Row]:
    """A training step in PyTorch on the same device, in units of ours."""
    if not importlib.util.find_spec("torch"):
        return _left_out("SASRec in PyTorch: torch is not installed")
    import torch

    from benchmarks import torch_sasrec
    from benchmarks.steps import step

    if on_card() and not torch.cuda.is_available():
        return _left_out("SASRec in PyTorch: this torch has no CUDA")
    size = _scaled(256, scale, 16)
    ordered = ("domain=simulated", "split=global_time", "train.progress=false", "train.keep=last")
    words = (*ordered, "model=sasrec", "model.length=50", f"train.batch_size={size}")
    unit = f"a step of sasrec, {size} windows of 50"
    return in_turns({unit: step(words), "PyTorch, the same": torch_sasrec.step(words)}, unit, turns)


def _implicit(scale: float, turns: int) -> list[Row]:
    """An epoch of `implicit`, on the card where it can, in units of an epoch of our BPR-MF."""
    if not importlib.util.find_spec("implicit"):
        return _left_out("implicit: not installed")
    import implicit.gpu
    import numpy as np
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    from benchmarks.long_tables import world_of
    from benchmarks.steps import step

    if on_card() and not implicit.gpu.HAS_CUDA:
        return _left_out("implicit: it was built without CUDA, or finds no card")
    users, items, size = _scaled(10**6, scale, 500), _scaled(10**5, scale, 100), _scaled(EVENTS, scale, 64)
    world: Any = world_of(users, items)
    train = world.target.train
    pairs = csr_matrix((np.ones(users, np.float32), (train.users, train.items)), (users, items))
    one = step((*SIMULATED, "method=target_only", f"train.batch_size={size}", "model.dim=64"), world)

    def epoch(kind: Any) -> Callable[[], float]:
        """What more iterations take more."""

        def fit(iterations: int) -> float:
            with threadpool_limits(1, "blas"):  # as it asks for on CPUs
                model = kind(factors=64, iterations=iterations, use_gpu=on_card(), random_state=0)
                return best_of(lambda: model.fit(pairs, show_progress=False))

        return lambda: (fit(11) - fit(1)) / 10

    ours = f"an epoch of BPR-MF, {users:,} events, {users:,} users, {items:,} items, {size:,} events a step"
    measured: Mapping[str, Callable[[], float]] = {
        ours: lambda: one() * -(-users // size),
        "implicit's BPR, the same": epoch(BayesianPersonalizedRanking),
        "implicit's ALS, an iteration on the same": epoch(AlternatingLeastSquares),
    }
    return in_turns(measured, ours, min(turns, 3))


def _left_out(why: str) -> list[Row]:
    print(f"left out: {why}", file=sys.stderr)
    return []


WORK: dict[str, Callable[[float, int], list[Row]]] = {
    "sweep": _sweep,
    "scatter-add": _scatter,
    "tables": _tables,
    "ranking": _ranking,
    "sasrec": _sasrec,
    "implicit": _implicit,
}

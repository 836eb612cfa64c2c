"""Other libraries on the same work: whole processes of RecBole (--peers PYTHON), a step of SASRec in PyTorch (if there).

RecBole 1.2.1 needs older NumPy, SciPy and pandas than we do, so it has an environment of its own:
`python -m venv PEERS; PEERS/bin/pip install -r scripts/benchmarks/peers.txt`. Both read the same training, validation and
test events and rank all items; nDCG@10 of both is printed, so that speed is compared at equal quality.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import Row, in_turns, processor_seconds, scratch, transfer
from benchmarks.steps import ORDERED, REAL, step

HERE = Path(__file__).resolve().parent
BOOKS = ("domain=amazon_movies_books", "split=ratio", "train.progress=false", "test=true")
EPOCHS = ("train.epochs=40", "train.evaluate_every=10", "train.patience=1000", "train.keep=best")
# The same method here and there, with the same numbers.
MODELS = {
    "EASE": ("method=ease", "method.domains=target", "hp.ridge=250"),
    "ItemKNN": ("method=item_knn", "method.domains=target", "method.neighbours=100", "hp.shrinkage=0"),
    "BPR": ("method=target_only", "model.dim=64", "train.batch_size=4096", "hp.learning_rate=0.003", *EPOCHS),
}


def measure(arguments: argparse.Namespace) -> list[Row]:
    rows = []
    if arguments.peers:
        rows += _recbole(arguments)
    if importlib.util.find_spec("torch"):
        rows += _sasrec(arguments)
    if not rows:
        sys.exit(
            "peers compares with RecBole (--peers PYTHON, see scripts/benchmarks/peers.txt) or PyTorch; neither is here"
        )
    return rows


def _recbole(arguments: argparse.Namespace) -> list[Row]:
    """Processor seconds of whole processes, in units of ours."""
    folder, rows = scratch(), list[Row]()
    _write_books(folder / "books", arguments)
    for model, words in MODELS.items():
        unit, theirs = f"transfer, {model} on books", f"RecBole 1.2.1, {model}"
        command = [arguments.peers, str(HERE / "recbole_run.py"), model, str(folder)]
        measured = {unit: partial(_ours, model, words, arguments.data_dir), theirs: partial(processor_seconds, command)}
        rows += in_turns(measured, unit, arguments.turns, partial(_told, measured[unit], model, command))
    return rows


def _ours(model: str, words: tuple[str, ...], data_dir: Path) -> float:
    place = scratch()
    seconds = processor_seconds(transfer(*BOOKS, f"data_dir={data_dir}", *words, f"hydra.run.dir={place}"))
    found = json.loads((place / "result.json").read_text())["metrics"]["test"]["ndcg@10"]
    print(f"{model}, ours: ndcg@10 {found:.4f}", file=sys.stderr)
    return seconds


def _told(ours: Callable[[], float], model: str, command: list[str]) -> None:
    """Both once, to fill their caches; theirs with its figure."""
    ours()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    print(f"{model}, RecBole: {done.stdout.splitlines()[-1]}", file=sys.stderr)


def _write_books(folder: Path, arguments: argparse.Namespace) -> None:
    """Training, validation and test events as RecBole's files."""
    import numpy as np

    from transfer.api import compose
    from transfer.experiment.build import load_world

    world: Any = load_world(compose([*BOOKS, f"data_dir={arguments.data_dir}", "task=ranking"])).world
    parts = {"train": (np.asarray(world.target.train.users), np.asarray(world.target.train.items))}
    for name, part in (("valid", world.valid), ("test", world.test)):
        chunk, slot = np.nonzero(np.asarray(part.row) < part.users.shape[1])
        users = np.asarray(part.users)[chunk, np.asarray(part.row)[chunk, slot]]
        parts[name] = users, np.asarray(part.item)[chunk, slot]
    folder.mkdir()
    for name, (users, items) in parts.items():
        lines = [f"u{user}\ti{item}" for user, item in zip(users, items, strict=True)]
        (folder / f"books.{name}.inter").write_text("\n".join(["user_id:token\titem_id:token", *lines, ""]))


def _sasrec(arguments: argparse.Namespace) -> list[Row]:
    """A training step of 256 windows, sampled softmax over shared negatives, in units of ours."""
    from benchmarks import torch_sasrec

    rows = []
    for length in (12, 50):
        sizes = ("model=sasrec", f"model.length={length}", "train.batch_size=256")
        words = (*ORDERED, *REAL, f"data_dir={arguments.data_dir}", *sizes)
        unit = f"transfer, a step of sasrec, 256 windows of {length}"
        rows += in_turns({unit: step(words), "PyTorch, the same": torch_sasrec.step(words)}, unit, arguments.turns)
    return rows

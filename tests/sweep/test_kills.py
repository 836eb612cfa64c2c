"""Runs and sweeps that are killed at random moments: the same command ends with the same bits, and no process is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from planted import RATING
from safetensors.numpy import load_file

WORLD = ("domain.users=60", "domain.source_items=40", "domain.target_items=30", "domain.source_events=10")
BUDGET = ("domain.target_events=6", "model.dim=8", "train.batch_size=64", "train.evaluate_every=1", "train.epochs=40")
ENDLESS = ("train.patience=40", "train.progress=false", "train.checkpoint_seconds=0")
RUN = (*RATING, *WORLD, *BUDGET, *ENDLESS)
SWEEP = ("-m", *RUN, "method=emcdr,target_only", "model.dim=8,9", "seed=0,1", "hydra.sweep.dir=out")
KINDS = {
    "run": (*RUN, "method=emcdr", "method.map=mlp", "method.hidden=16", "hydra.run.dir=out"),
    "inprocess": SWEEP,
    "joblib": (
        "-m",
        *RUN,
        "method=target_only",
        "model.dim=8,9",
        "hydra.sweep.dir=out",
        "engine=joblib",
        "engine.workers=2",
    ),
}
GRACE = 10.0  # seconds after which nothing of a killed command may live


def begin(words: tuple[str, ...], place: Path) -> subprocess.Popen[bytes]:
    place.mkdir(exist_ok=True)
    with (place / "said").open("ab") as said:
        command = [sys.executable, "-m", "transfer", *words]
        return subprocess.Popen(command, cwd=place, stdout=said, stderr=said, start_new_session=True)


def end(words: tuple[str, ...], place: Path) -> None:
    running = begin(words, place)
    assert running.wait(timeout=300) == 0, (place / "said").read_text()


def figures(place: Path) -> dict[str, Any]:
    """What a command has to leave, run by run: figures and the bits of the parameters."""
    found = {}
    for path in sorted(place.glob("out/**/result.json")):
        folder, facts = path.parent, json.loads(path.read_text())
        arrays = {name: array.tobytes() for name, array in load_file(folder / "parameters.safetensors").items()}
        assert not (folder / "checkpoint.safetensors").exists()
        key = str(folder.relative_to(place))
        found[key] = (facts["status"], facts["metrics"], facts["selected"], (folder / "metrics.jsonl").read_bytes(), arrays)
    return found


def orphans(session: int) -> list[psutil.Process]:
    """The processes of a session that live."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


Whole = Callable[[str], tuple[dict[str, Any], float]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What an unbroken command of a kind leaves, and about its seconds with compiled programs at hand."""

    @cache
    def of(kind: str) -> tuple[dict[str, Any], float]:
        place, began = tmp_path_factory.mktemp(kind), time.monotonic()
        end(KINDS[kind], place)
        seconds = time.monotonic() - began
        compiling = [json.loads(path.read_text())["seconds"]["compile"] for path in place.glob("out/**/result.json")]
        return figures(place), seconds - max(compiling)

    return of


def killed_once(kind: str, seed: int, place: Path, whole: Whole) -> None:
    expected, seconds = whole(kind)
    after = random.Random(seed).uniform(0.5, seconds)
    running = begin(KINDS[kind], place)
    time.sleep(after)
    running.send_signal(signal.SIGKILL)
    running.wait()
    deadline = time.monotonic() + GRACE
    while left := orphans(running.pid):
        assert time.monotonic() < deadline, f"killed after {after:.2f} s, these live: {left}"
        time.sleep(0.1)
    end(KINDS[kind], place)
    assert "Traceback" not in (place / "said").read_text()
    assert figures(place) == expected, f"killed after {after:.2f} s"


def test_a_killed_command_goes_on_to_the_same_bits(whole: Whole, tmp_path: Path) -> None:
    """Kills inside a run and in a sweep of one process are those of tests/training/test_resume.py and test_sweep.py."""
    killed_once("joblib", 0, tmp_path / "killed", whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 101))
def test_a_hundred_kills(seed: int, whole: Whole, tmp_path: Path) -> None:
    killed_once(list(KINDS)[seed % 3], seed, tmp_path / "killed", whole)

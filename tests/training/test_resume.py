"""Interrupted runs: kill -9, Ctrl-C, every stage; what is resumed ends with the bits of an uninterrupted run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from planted import BUDGET, RATING, WORLD
from safetensors.numpy import load_file

import transfer.training.stages
from transfer.api import compose
from transfer.config.schema import Config
from transfer.console import Interrupted
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.results.run_folder import CHECKPOINT, PARAMETERS, RESULT
from transfer.storage import trees

# Three gradient stages of 80 blocks each; a name with a space, because the command to go on must survive the shell.
BLOCKS = 80
SETTINGS = (
    *(*RATING, *WORLD, *BUDGET, "method=emcdr", "method.map=mlp", "method.hidden=16"),
    *(f"train.epochs={BLOCKS}", f"train.patience={BLOCKS}", "domain.name=a planted world", "seed=3"),
)


@pytest.fixture(scope="module")
def config() -> Config:
    return compose(SETTINGS)


@pytest.fixture(scope="module")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run_batch([config], [folder])[0].status == "done"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3 * BLOCKS
    return folder


def assert_equal_runs(folder: Path, whole: Path) -> None:
    """Same figures, same bits, and nothing left over."""
    result, expected = (json.loads((path / RESULT).read_text()) for path in (folder, whole))
    assert result["status"] == "done"
    assert result["metrics"] == expected["metrics"]
    assert result["selected"] == expected["selected"]
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    arrays, wanted = (load_file(path / PARAMETERS) for path in (folder, whole))
    assert {name: array.tobytes() for name, array in arrays.items()} == {n: a.tobytes() for n, a in wanted.items()}
    left = {path.name for path in folder.iterdir()} - {".hydra", "transfer.log"}
    assert left == {path.name for path in whole.iterdir()}
    assert CHECKPOINT not in left


def interrupt_at(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a Ctrl-C during the given block, counted over all stages."""
    original, seen = transfer.training.stages.Progress.update, []

    def update(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        seen.append(1)
        if len(seen) == block:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(transfer.training.stages.Progress, "update", update)


def interrupted_run(config: Config, folder: Path, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(block, patch)
        with pytest.raises(Interrupted):
            run_batch([config], [folder])
    assert json.loads((folder / RESULT).read_text())["status"] == "interrupted"
    assert (folder / CHECKPOINT).exists()
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "hp.json", RESULT, CHECKPOINT}


@pytest.mark.parametrize("block", [2, BLOCKS, BLOCKS + 40, 2 * BLOCKS + 50, 3 * BLOCKS])
def test_a_run_interrupted_at_any_stage_goes_on_to_the_same_bits(
    block: int, config: Config, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted_run(config, tmp_path, block)
    assert run_batch([config], [tmp_path])[0].status == "done"
    stage = ("source", "target", "map")[(block - 1) // BLOCKS]
    assert f"resuming stage {stage} after step" in capsys.readouterr().err
    assert_equal_runs(tmp_path, whole)


def test_a_run_can_be_interrupted_twice_or_begin_afresh(
    config: Config, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted_run(config, tmp_path, BLOCKS + 5)
    interrupted_run(config, tmp_path, BLOCKS + 5)  # blocks of this process: 5 are behind it in the second stage
    again = compose([*SETTINGS, "resume=false"])
    assert run_batch([config], [tmp_path])[0].status == "done"
    assert_equal_runs(tmp_path, whole)
    interrupted_run(again, tmp_path / "other", 7)
    capsys.readouterr()
    assert run_batch([again], [tmp_path / "other"])[0].status == "done"
    assert "resuming" not in capsys.readouterr().err
    assert_equal_runs(tmp_path / "other", whole)


def test_what_a_killed_write_leaves_is_swept_up(config: Config, whole: Path, tmp_path: Path) -> None:
    """A process that dies inside `write` cannot remove its temporary file; the run that goes on does."""
    interrupted_run(config, tmp_path, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(Path, "replace", lambda *_: None)
        patch.setattr(os, "getpid", lambda: 4194304)  # of the process that died
        trees.write(tmp_path / CHECKPOINT, b"half")
    assert [path.name for path in tmp_path.glob(".*")] == [f".{CHECKPOINT}.4194304.transfer-tmp"]
    mine = [tmp_path / name for name in (".notes.2024", ".x.1.transfer-tmp", ".transfer-tmp")]
    for path in mine:  # not ours, of a process that lives, and without a number
        path.write_text("kept")
    assert run_batch([config], [tmp_path])[0].status == "done"
    for path in mine:
        path.unlink()
    assert_equal_runs(tmp_path, whole)


@pytest.mark.parametrize("other", ["hp.l2=0.5", "seed=4", "method.hidden=17", "split.seed=1"])
def test_a_checkpoint_of_another_configuration_is_refused(other: str, config: Config, whole: Path, tmp_path: Path) -> None:
    interrupted_run(config, tmp_path, 2)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(TransferError, match="resume=false") as caught:
        run_batch([compose([*SETTINGS, other])], [tmp_path])
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert json.loads((tmp_path / RESULT).read_text())["status"] == "failed"


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "another file"])
def test_a_damaged_checkpoint_is_refused(damage: str, config: Config, whole: Path, tmp_path: Path) -> None:
    interrupted_run(config, tmp_path, 2)
    path = tmp_path / CHECKPOINT
    data = path.read_bytes()
    other = (whole / PARAMETERS).read_bytes()
    path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "noise": b"\xff" * 500, "another file": other}[damage])
    with pytest.raises(TransferError) as caught:
        run_batch([config], [tmp_path])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert json.loads((tmp_path / RESULT).read_text())["status"] == "failed"


def process(folder: Path) -> subprocess.Popen[str]:
    """The command line at work, with a checkpoint after every block."""
    command = [sys.executable, "-m", "transfer", *SETTINGS, "train.checkpoint_seconds=0", f"hydra.run.dir={folder}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent)


def stopped(folder: Path, number: signal.Signals) -> tuple[int, str]:
    """Start the command, send a signal soon after it has written a checkpoint, and wait: (exit code, what it said)."""
    checkpoint = folder / CHECKPOINT
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
    running = process(folder)
    until = time.monotonic() + 120
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < until, "no checkpoint"
        time.sleep(0.005)
    time.sleep(0.05)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    return running.returncode, said


def test_a_process_that_is_killed_and_then_interrupted_goes_on_to_the_same_bits(whole: Path, tmp_path: Path) -> None:
    """The interrupted one says how to go on, and that is how it goes on."""
    folder = tmp_path / "run"
    code, _ = stopped(folder, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert (folder / CHECKPOINT).exists()
    assert not (folder / RESULT).exists()
    code, said = stopped(folder, signal.SIGINT)
    assert code == 130, said
    assert "resuming stage" in said
    assert "Traceback" not in said
    assert json.loads((folder / RESULT).read_text())["status"] == "interrupted"
    (line,) = [line for line in said.splitlines() if "to go on: " in line]
    words = shlex.split(line.partition("to go on: ")[2])
    assert words[0] == "transfer"
    command = [sys.executable, "-m", "transfer", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming stage" in done.stderr
    assert_equal_runs(folder, whole)

"""A full disk: one line that says so, nothing that is finished is lost, and the same command goes on."""

from __future__ import annotations

import json
from collections import namedtuple
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from planted import RATING, WORLD

from transfer.errors import one_line
from transfer.storage import trees

SWEEP = ("-m", *RATING, *WORLD, "method=item_bias,global_mean", "seed=0,1", "hydra.sweep.dir=S")
Disk = namedtuple("Disk", "free")


def test_a_write_to_a_full_disk_names_the_file_and_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(trees.os, "fsync", full)
    path = tmp_path / "result.json"
    with pytest.raises(OSError, match="No space") as error:
        trees.write(path, b"{}")
    assert one_line(error.value) == f"{path}: the disk is full; make room, and the same command goes on"
    assert list(tmp_path.iterdir()) == []


def test_a_run_ends_with_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: Any) -> None:
        raise OSError(ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("transfer.results.run_folder.write", full)
        said = command(*RATING, *WORLD, "method=item_bias", "hydra.run.dir=out")
    assert said.code == 1, "the machine failed, the command may go through"
    assert [line for line in said.err.splitlines() if "rror" in line] == [
        f"error: {Path('out').resolve()}/config.yaml: the disk is full; make room, and the same command goes on"
    ]
    assert command(*RATING, *WORLD, "method=item_bias", "hydra.run.dir=out").code == 0


def test_a_sweep_begins_nothing_more_and_keeps_what_is_finished(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("transfer.sweep.launch.shutil.disk_usage", lambda folder: Disk(1000))
        said = command(*SWEEP)
    assert said.code == 1
    assert "error: S: the disk is full; make room, and the same command goes on" in said.err
    done = {path.parent.name: path.stat().st_mtime_ns for path in Path("S").glob("*/result.json")}
    assert set(done) == {"0", "1"}, "the first program alone"
    said = command(*SWEEP)
    assert (said.code, "2 of 4 runs are there already" in said.err) == (0, True)
    assert [json.loads(Path(f"S/{n}/result.json").read_text())["status"] for n in range(4)] == ["done"] * 4

"""Processes that share one run: how they meet, what they refuse, and that they have the numbers of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import Command
from planted import RANKING, WORLD

from transfer.api import compose
from transfer.errors import MachineError, TransferError
from transfer.experiment.run import run_batch
from transfer.storage.trees import load_arrays, name_of
from transfer.training.processes import Place, begin, check_same, meet, place_of, together

SLURM = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "4099"}


def free_port() -> int:
    with socket.create_server(("", 0)) as door:
        return door.getsockname()[1]


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("node1", "node1"), ("node1,node2", "node1"), ("node[07-09,12]", "node07"), ("gpu-a[3,5],other", "gpu-a3")],
)
def test_slurm_says_who_is_where(nodes: str, host: str) -> None:
    assert place_of("2", {**SLURM, "SLURM_STEP_NODELIST": nodes}) == Place(host, 61003, 2, 1)


def test_variables_say_who_is_where_before_slurm_does() -> None:
    own = {"TRANSFER_COORDINATOR": "here:99", "TRANSFER_PROCESS": "0"}
    assert place_of("3", {**SLURM, "SLURM_STEP_NODELIST": "n", **own}) == Place("here", 99, 3, 0)


@pytest.mark.parametrize(
    ("count", "environment", "said"),
    [
        ("two", {}, "processes=two: give how many"),
        ("2", {}, "needs TRANSFER_COORDINATOR=HOST:PORT"),
        ("2", {"TRANSFER_COORDINATOR": "here", "TRANSFER_PROCESS": "0"}, "needs TRANSFER_COORDINATOR=HOST:PORT"),
        ("2", {"TRANSFER_COORDINATOR": "here:9", "TRANSFER_PROCESS": "2"}, "numbered from 0 to 1"),
        ("3", {**SLURM, "SLURM_STEP_NODELIST": "n"}, "srun has started 2; write processes=2 or --ntasks=3"),
    ],
)
def test_a_place_that_is_not_said_is_an_error(count: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(TransferError, match=said):
        place_of(count, environment)


def test_a_sweep_is_not_shared_and_one_process_meets_nobody(command: Command) -> None:
    said = command("-m", "processes=2", "seed=0,1")
    assert said.code == 2
    assert "processes= is for one run; the runs of a sweep go to a cluster with engine=ray" in " ".join(said.err.split())
    assert begin(["processes=1", "seed=3"]) == ["processes=1", "seed=3"]


def meeting(*commands: str, wait: float = 20.0) -> list[BaseException | None]:
    """Processes with these commands meet, as threads; a stranger knocks first. What each of them raises."""
    places = [Place("localhost", free_port(), len(commands), 0)]
    places += [places[0]._replace(number=i) for i in range(1, len(commands))]

    def knock() -> None:
        try:
            with socket.create_connection(("localhost", places[0].port), timeout=1) as one:
                one.sendall(b"GET / HTTP/1.1\n")
        except OSError:
            pass

    with ThreadPoolExecutor(len(commands) + 1) as threads:
        met = [threads.submit(meet, place, words, wait) for place, words in zip(places, commands, strict=True)]
        threads.submit(knock)
        return [one.exception() for one in met]


def test_processes_with_one_command_meet() -> None:
    assert meeting("a", "a", "a") == [None] * 3


def test_a_process_with_another_command_is_named_to_all() -> None:
    for error in meeting("a", "a", "b"):
        assert isinstance(error, TransferError)
        assert str(error) == "process 2 has another command or version than process 0; give all the same words"


def test_who_does_not_come_is_named() -> None:
    with pytest.raises(MachineError, match="process 1 has not come; start all"):
        meet(Place("localhost", free_port(), 2, 0), "a", wait=0.3)
    with pytest.raises(MachineError, match="process 1 finds no process 0 at localhost"):
        meet(Place("localhost", free_port(), 2, 1), "a", wait=0.3)
    with socket.create_server(("", 0)) as door, pytest.raises(MachineError, match="take another port"):
        meet(Place("localhost", door.getsockname()[1], 2, 0), "a", wait=0.3)


def test_one_process_agrees_with_itself() -> None:
    check_same("a", "data")
    with together("begin"):
        pass
    with pytest.raises(ValueError, match="mine"), together("begin"):
        raise ValueError("mine")


def commands(folder: Path, *words: str, data: tuple[Path, ...] = ()) -> list[subprocess.CompletedProcess[str]]:
    """`transfer processes=2 WORDS`, twice at the same time. data: where each of them looks for it."""
    return at_once([sys.executable, "-m", "transfer", "processes=2", *words, f"hydra.run.dir={folder}"], data)


def at_once(command: list[str], data: tuple[Path, ...] = ()) -> list[subprocess.CompletedProcess[str]]:
    """A command in two processes that are to meet."""
    port = free_port()

    def one(number: int) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TRANSFER_COORDINATOR": f"localhost:{port}", "TRANSFER_PROCESS": str(number)}
        environment |= {"TRANSFER_DATA": str(data[number])} if data else {}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(one, (0, 1)))


RUN = (*RANKING[:2], *WORLD, "model.dim=8", "method=cmf", "task.loss=bpr", "train.batch_size=16", "train.tables=late")
RUN = (*RUN, "train.epochs=3", "train.evaluate_every=1", "train.progress=false")


def check_numbers(folder: Path) -> None:
    """They are those of one process."""
    alone = run_batch([compose(RUN)])[0]
    facts, learnt = json.loads((folder / "result.json").read_text()), load_arrays(folder / "parameters.safetensors")
    assert (facts["processes"], facts["devices"]) == (2, 2)
    for part, values in alone.metrics.items():
        assert facts["metrics"][part] == pytest.approx(values, rel=2e-3, abs=2e-3)
    for keys, wanted in jax.tree_util.tree_flatten_with_path(alone.parameters)[0]:
        np.testing.assert_allclose(learnt[name_of(keys)], wanted, rtol=2e-3, atol=2e-5)


# A run that the second process is asked to stop, and then the same again.
STOPPED = """
import json, sys
from pathlib import Path
from transfer.api import compose
from transfer.console import Interrupted
from transfer.experiment import run_batch
from transfer.training import processes, stages

words, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
processes.begin(["processes=2", *words])
asked = []
stages.interrupted = lambda: not processes.first() and (asked.append(1) or len(asked) == 2)
try:
    run_batch([compose(words)], [folder])
    sys.exit("it was not stopped")
except Interrupted:
    assert (folder / "checkpoint.safetensors").exists()
run_batch([compose(words)], [folder])
"""


@pytest.mark.slow
def test_processes_stop_together_go_on_and_have_the_numbers_of_one(tmp_path: Path) -> None:
    both = at_once([sys.executable, "-c", STOPPED, json.dumps([*RUN, "train.shard=tables"]), str(tmp_path)])
    assert [one.returncode for one in both] == [0, 0], both
    assert "resuming stage" in both[0].stderr
    assert "resuming stage" not in both[1].stdout + both[1].stderr, "the second one is silent"
    check_numbers(tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 3
    assert steps == sorted(set(steps))


def test_a_folder_that_is_not_free_is_said_by_the_process_that_writes(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"status": "done", "identity": "of another configuration"}')
    first, second = commands(tmp_path, *RUN)
    assert (first.returncode, second.returncode) == (2, 1), (first, second)
    assert "has the finished run of another configuration" in first.stderr
    assert "error: process 0 could not begin; see what it said" in second.stderr


@pytest.mark.parametrize(
    ("events", "of_first", "of_second", "codes"),
    [
        (0, "process 1 could not begin; see what it said", "books.csv", [1, 2]),
        (150, *["process 1 has other data or settings than process 0; give all processes the same"] * 2, [2, 2]),
    ],
)
def test_processes_without_the_same_data_end_in_a_line(
    events: int, of_first: str, of_second: str, codes: list[int], tmp_path: Path
) -> None:
    for name, count in (("first", 140), ("second", events)):
        (tmp_path / name).mkdir()
        lines = [f"u{i % 20},i{i % 7 + i // 140}" for i in range(count)]
        if lines:
            (tmp_path / name / "books.csv").write_text("\n".join(["user,item", *lines, ""]))
    words = ("domain=files", "domain.target=books.csv", "domain.source=null", "split=ratio", "method=popularity")
    both = commands(tmp_path / "run", *words, data=(tmp_path / "first", tmp_path / "second"))
    assert [one.returncode for one in both] == codes, both
    for one, said in zip(both, (of_first, of_second), strict=True):
        errors = [line for line in one.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert said in errors[0]
        assert "Traceback" not in one.stderr

"""Engines: the same programs in this process, in processes, on Ray and as submitit jobs; workers that die."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from planted import BUDGET, RATING, WORLD

from transfer.config.schema import Engine
from transfer.sweep import engines

pytestmark = pytest.mark.usefixtures("no_figures")
SWEEP = (*RATING, *WORLD, *BUDGET, "method=target_only,item_bias", "seed=0,1", "hydra.sweep.dir=S")
OPTIONS = {
    "joblib": ("engine=joblib", "engine.workers=2"),
    "ray": ("engine=ray", "engine.options.init={num_cpus: 2, include_dashboard: false, log_to_driver: false}"),
    "submitit": ("engine=slurm", "engine.options={cluster: local, timeout_min: 5}"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep of this process lies, once there is one."""
    return tmp_path_factory.mktemp("sweep") / "here"


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / str(number) / "result.json").read_text()) for number in range(4)]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_engine_gives_the_results_of_this_process(name: str, command: Command, here: Path, tmp_path: Path) -> None:
    pytest.importorskip(name)
    if not here.exists():
        said = command("-m", *SWEEP[:-1], f"hydra.sweep.dir={here}")
        assert said.code == 0, said.err
    there = command("-m", *SWEEP, *OPTIONS[name])
    assert there.code == 0, there.err
    assert f"engine {name}" in there.err
    for one, other in zip(results(here), results(tmp_path / "S"), strict=True):
        assert one["status"] == other["status"] == "done"
        assert one["metrics"] == other["metrics"]


def dying() -> Callable[[dict[str, Any]], None]:
    """A program that leaves a mark for every try and is killed in its first ones, as by a machine out of memory.

    Made by a function so that it travels to workers by value: they cannot import a test.
    """

    def die_or_work(work: dict[str, Any]) -> None:
        import os
        import pathlib
        import signal

        marks = pathlib.Path(work["marks"])
        mine = len(list(marks.glob(f"{work['name']}-*")))
        (marks / f"{work['name']}-{mine}").touch()
        if mine < work["dies"]:
            os.kill(os.getpid(), signal.SIGKILL)

    return die_or_work


ENGINE = {"workers": 2, "max_batch": None, "reuse_stages": False}
DYING = {
    "joblib": Engine(name="joblib", options={}, **ENGINE),
    "ray": Engine(
        name="ray", options={"init": {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}}, **ENGINE
    ),
    "submitit": Engine(name="submitit", options={"cluster": "local", "timeout_min": 2}, **ENGINE),
}


@pytest.mark.parametrize("name", ["joblib", "ray", pytest.param("submitit", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_program_whose_worker_dies_is_run_once_more(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    works = [{"marks": str(tmp_path), "name": f"w{i}", "dies": dies} for i, dies in enumerate([0, 1, 9])]
    ended = list(engines.run_all(works, DYING[name], 2, tmp_path, dying()))
    assert sorted(ended) == [0, 1, 2]
    tries = [len(list(tmp_path.glob(f"w{i}-*"))) for i in range(3)]
    assert tries[1] == 2
    assert tries[2] in (2, 3)  # a pool that breaks takes its other programs along, which then run again
    assert tries[0] in (1, 2)


def test_what_a_dead_worker_leaves_is_marked_failed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(works: list[Any], *_: Any) -> Iterator[int]:
        for i, work in enumerate(works):
            if i != 1:
                engines.run_work(work)
            yield i

    with monkeypatch.context() as patch:
        patch.setitem(engines.ENGINES, "inprocess", lost)
        said = command("-m", *SWEEP)
    assert said.code == 1, said.err
    found = results(tmp_path / "S")
    assert [r["status"] for r in found] == ["done", "done", "failed", "failed"]
    assert "died twice" in found[3]["error"]
    said = command("-m", *SWEEP)
    assert said.code == 0, said.err
    assert "2 of 4 runs are there already" in said.err, "what the machine made fail is no result"
    assert [r["status"] for r in results(tmp_path / "S")] == ["done"] * 4


def test_an_engine_that_is_not_installed_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = command("-m", *SWEEP, "engine=ray")
    assert said.code == 2
    assert "pip install -e '.[ray]'" in said.err
    assert "engine.workers" in command("-m", *SWEEP, "engine.workers=0").err

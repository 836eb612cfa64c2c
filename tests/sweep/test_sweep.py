"""Sweeps: few programs for many jobs, Hydra's gifts to every job, failures that stay alone, runs that are not run twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import polars as pl
import pytest
from conftest import Command
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from planted import BUDGET, RATING, WORLD
from safetensors.numpy import load_file

import transfer.experiment.run
from transfer.api import compose
from transfer.experiment import run_batch
from transfer.report.comparison.compare import compare
from transfer.report.comparison.runs import read_runs
from transfer.report.page import page
from transfer.storage.memory import Free
from transfer.sweep import finished
from transfer.training.compiler import TooLarge, executables_of

pytestmark = pytest.mark.usefixtures("no_figures")
SMALL = (*RATING, *WORLD, *BUDGET)
GRID = (*SMALL, "method=target_only", "seed=0,1", "hp.learning_rate=0.01,0.02")


def results(folder: Path) -> list[dict[str, Any]]:
    """The result.json of every job, by number."""
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    return [json.loads((folder / str(number) / "result.json").read_text()) for number in numbers]


class Seen(Callback):
    """What Hydra tells a callback about the jobs of a sweep."""

    jobs: ClassVar[list[tuple[int, int, float, float, str]]] = []

    def on_job_end(self, config: DictConfig, job_return: Any, **_: Any) -> None:
        place = config.hydra.runtime.output_dir
        rate = float(config.hp.learning_rate)
        self.jobs.append((config.hydra.job.num, config.seed, rate, job_return.return_value, place))


def test_a_grid_is_one_program_and_every_job_has_its_own(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = []
    original = ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", lambda *a, **k: composed.append(1) or original(*a, **k))
    Seen.jobs.clear()
    said = command("-m", *GRID, "hydra.sweep.dir=S", f"+hydra.callbacks.seen._target_={Seen.__module__}.Seen")
    assert said.code == 0, said.err
    assert "4 runs in 1 programs" in said.err
    assert len(composed) == 1
    found = results(tmp_path / "S")
    assert [(r["status"], r["replicas"], r["seed"]) for r in found] == [("done", 4, s) for s in (0, 0, 1, 1)]
    assert len({r["id"] for r in found}) == len({r["metrics"]["test"]["rmse"] for r in found}) == 4
    for number, result in enumerate(found):
        folder = tmp_path / "S" / str(number)
        words = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
        rate = [0.01, 0.02][number % 2]
        assert f"seed={number // 2}" in words
        assert f"hp.learning_rate={rate}" in words
        config = OmegaConf.load(folder / ".hydra" / "config.yaml")
        assert (config.seed, config.hp.learning_rate, config.method.name) == (number // 2, rate, "target_only")
        hydra = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra
        assert int(hydra.job.num) == number
        assert hydra.runtime.output_dir == str(folder)
        assert list(hydra.overrides.task) == list(words)
        assert "done" in (folder / "transfer.log").read_text()
        metric = -result["metrics"]["valid"]["rmse"]  # higher is better, for every sweeper
        assert Seen.jobs[number] == (number, number // 2, pytest.approx(rate), metric, str(folder))


def test_the_basic_launcher_gives_the_same(command: Command, tmp_path: Path) -> None:
    words = (*SMALL, "method=target_only", "seed=0,1")
    assert command("-m", *words, "hydra.sweep.dir=ours").code == 0
    assert command("-m", *words, "hydra/launcher=basic", "hydra.sweep.dir=basic").code == 0
    for ours, basic in zip(results(tmp_path / "ours"), results(tmp_path / "basic"), strict=True):
        assert ours["metrics"] == basic["metrics"]
        assert ours["id"] == basic["id"]
    theirs = tmp_path / "basic" / "1" / ".hydra"
    for name in ("config.yaml", "overrides.yaml"):
        assert OmegaConf.load(tmp_path / "ours" / "1" / ".hydra" / name) == OmegaConf.load(theirs / name)
    mine, hydra = (
        OmegaConf.load(folder / "1" / ".hydra" / "hydra.yaml") for folder in (tmp_path / "ours", tmp_path / "basic")
    )
    assert set(mine.hydra) == set(hydra.hydra)


def test_a_job_that_fails_leaves_the_others_alone(command: Command, tmp_path: Path) -> None:
    """The number of one method is wrong with another: those runs fail alone, and the exit code says that some did."""
    words = (*SMALL, "method=target_only,source_bias", "hp.learning_rate=0.01,1e30", "seed=0")
    said = command("-m", *words, "hydra.sweep.dir=S")
    assert said.code == 1, said.err
    found = results(tmp_path / "S")
    assert [r["status"] for r in found] == ["done", "diverged", "failed", "failed"]
    assert "method=source_bias has no such number; it has hp.damping, hp.user_damping" in found[2]["error"]
    assert "has no such number" in said.out
    alone = run_batch([compose([*SMALL, "method=target_only", "hp.learning_rate=0.01", "seed=0"])])[0]
    assert alone.metrics["test"] == found[0]["metrics"]["test"]


def test_a_choice_that_is_wrong_whatever_the_others_are_stops_the_sweep_before_it_begins(
    command: Command, tmp_path: Path
) -> None:
    words = ("method=item_bias,magic", "split.beta=0.2,2", "hp.damping=1,much", "hydra.sweep.dir=S")
    said = command("-m", *SMALL, *words)
    assert said.code == 2
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert len(lines) == 3, said.err
    for line, part in zip(lines, ["hp.damping='much'", "split.beta", "magic"], strict=True):
        assert line.startswith("error: ")
        assert part in line
    assert not list((tmp_path / "S").glob("*/result.json"))
    said = command("-m", *SMALL, "method=item_bias,target_only", "nonsense=1,2", "hydra.sweep.dir=S")
    assert said.code == 2
    assert "nonsense" in said.err


def test_what_cannot_be_built_fails_alone(command: Command, tmp_path: Path) -> None:
    said = command("-m", *SMALL, "method=item_bias,ease", "hydra.sweep.dir=S")
    assert said.code == 1, said.err
    found = results(tmp_path / "S")
    assert [r["status"] for r in found] == ["done", "failed"]
    assert "method=ease does not do task=rating" in found[1]["error"]


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a finished run was run again")


def test_the_same_command_runs_nothing_twice(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found again in the folder that the command itself names, by what was run and not by the job's number."""
    assert command("-m", *GRID).code == 0
    (folder,) = tmp_path.glob("sweeps/*")
    before = {path.name: (path / "result.json").read_bytes() for path in folder.iterdir() if path.name.isdecimal()}
    with monkeypatch.context() as patch:
        patch.setattr(transfer.experiment.run, "run_batch", refuse)
        assert "4 of 4 runs are there already" in command("-m", *GRID).err
    assert list(tmp_path.glob("sweeps/*")) == [folder]
    # a wider grid in the same folder: the finished runs move to their new numbers, only the new ones are trained
    wider = [word.replace("seed=0,1", "seed=2,0,1") for word in GRID]
    said = command("-m", *wider, f"hydra.sweep.dir={folder}")
    assert "4 of 6 runs are there already" in said.err
    assert "2 runs in 1 programs" in said.err
    found = results(folder)
    assert [r["seed"] for r in found] == [2, 2, 0, 0, 1, 1]
    moved = {r["id"]: r["metrics"] for r in found}
    assert all(moved[old["id"]] == old["metrics"] for old in map(json.loads, before.values()))


def test_another_command_in_the_same_folder_overwrites_no_run(command: Command, tmp_path: Path) -> None:
    assert command("-m", *GRID, "hydra.sweep.dir=S").code == 0
    ids = {r["id"] for r in results(tmp_path / "S")}
    assert command("-m", *SMALL, "method=item_bias", "seed=0,1", "hydra.sweep.dir=S").code == 0
    found = results(tmp_path / "S")
    assert [r["method"] for r in found] == ["item_bias"] * 2 + ["target_only"] * 4
    assert ids < {r["id"] for r in found}


def test_retry_runs_what_failed(command: Command, tmp_path: Path) -> None:
    words = (*SMALL, "method=target_only", "hp.learning_rate=0.01,1e30", "hydra.sweep.dir=S")
    assert command("-m", *words).code == 0
    assert [r["status"] for r in results(tmp_path / "S")] == ["done", "diverged"]
    assert "2 of 2 runs are there" in command("-m", *words).err
    assert "1 of 2 runs are there" in command("-m", *words, "retry=failed,diverged").err
    said = command("-m", *words, "retry=sometimes")
    assert said.code == 2
    assert "retry=sometimes: choose from failed, diverged, done" in said.err


def test_changed_data_is_another_run(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [(f"u{u}", f"i{(u * j) % 7}", float(1 + (u + j) % 5)) for u in range(40) for j in range(1, 6)]
    table = (
        pl.DataFrame(events, schema=["user", "item", "rating"], orient="row").unique(["user", "item"]).sort("user", "item")
    )
    table.write_csv(tmp_path / "books.csv")
    words = ("domain=files", "domain.target=books.csv", "domain.source=null", "split=ratio", *RATING)
    sweep = ("-m", *words, "method=item_bias", "hp.damping=1,2", "hydra.sweep.dir=S")
    assert command(*sweep).code == 0
    with monkeypatch.context() as patch:  # nothing has changed: the data are not even read
        patch.setattr(finished, "load_world", refuse)
        assert "2 of 2 runs are there" in command(*sweep).err
    os.utime(tmp_path / "books.csv")  # written again, with what it had
    assert "2 of 2 runs are there" in command(*sweep).err
    for path in (tmp_path / "S").glob("*/*"):  # the clock has been set back since: runs seem younger than what comes next
        os.utime(path, (4e9, 4e9))
    table.with_columns(rating=6 - pl.col("rating")).write_csv(tmp_path / "other.csv")
    os.utime(tmp_path / "other.csv", (1, 1))  # moved here, it keeps a date long before the runs
    (tmp_path / "other.csv").replace(tmp_path / "books.csv")
    assert "are there already" not in command(*sweep).err
    before = results(tmp_path / "S")
    (tmp_path / "books.csv").rename(tmp_path / "gone.csv")
    said = command(*sweep)
    assert said.code in (1, 2), "the data are not there"
    assert results(tmp_path / "S") == before, "which costs no finished run"


def test_a_sweep_that_is_killed_and_then_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    """Both in the second of two programs: the first is not run again, and the end is that of an unbroken sweep."""
    words = [sys.executable, "-m", "transfer", "-m", *SMALL, "train.epochs=120", "train.patience=120", "hydra.sweep.dir=S"]
    words += ["seed=0,1", "model.dim=8,9", "train.checkpoint_seconds=0"]
    first, second = tmp_path / "S" / "0" / "result.json", tmp_path / "S" / "2" / "checkpoint.safetensors"

    def stopped(how: int) -> tuple[int, str]:
        """Exit code and words of the command, sent a signal when the second program has written a checkpoint."""
        before = second.stat().st_mtime_ns if second.exists() else None
        process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
        deadline = time.monotonic() + 200
        while not (first.exists() and second.exists()) or second.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        os.killpg(process.pid, how)
        said = process.communicate(timeout=100)[1]
        process.stderr.close()
        return process.returncode, said

    assert stopped(signal.SIGKILL)[0] == -signal.SIGKILL
    stamp = (tmp_path / "S" / "0" / "parameters.safetensors").stat().st_mtime_ns
    code, said = stopped(signal.SIGINT)
    assert code == 130
    assert "2 of 4 runs are there already" in said
    assert "resuming stage target after step" in said
    assert "interrupted: 2 of 4 runs are done; to go on: transfer -m" in said
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert "2 of 4 runs are there already" in done.stderr
    assert "resuming stage target after step" in done.stderr
    assert (tmp_path / "S" / "0" / "parameters.safetensors").stat().st_mtime_ns == stamp
    configs = [compose([*words[4:-4], f"model.dim={d}", f"seed={s}"]) for d in (8, 9) for s in (0, 1)][2:]
    whole = run_batch(configs)
    for number, expected in zip((2, 3), whole, strict=True):
        folder = tmp_path / "S" / str(number)
        assert json.loads((folder / "result.json").read_text())["metrics"] == expected.metrics
        stored = load_file(folder / "parameters.safetensors")
        np.testing.assert_array_equal(stored["target/body/factors"], expected.parameters["target"]["body"]["factors"])


def test_batches_are_cut_to_what_was_asked_for_and_to_what_fits(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("-m", *GRID, "engine.max_batch=3", "hydra.sweep.dir=S").code == 0
    assert [r["replicas"] for r in results(tmp_path / "S")] == [2, 2, 2, 2]
    configs = [compose([*SMALL, "method=target_only", f"seed={s}"]) for s in range(5)]
    original, sizes = transfer.experiment.run._run_program, []

    def small_machine(configs: list[Any], *rest: Any) -> Any:
        sizes.append(len(configs))
        if len(configs) > 4:
            raise TooLarge(3, 2.0, Free(1.0, "of the test"))
        if len(configs) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return original(configs, *rest)

    monkeypatch.setattr(transfer.experiment.run, "_run_program", small_machine)
    cut = run_batch(configs)
    assert sizes == [5, 3, 2, 1, 2]

    def full(*_: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nallocating 8 bytes")

    monkeypatch.setattr(transfer.experiment.run, "_run_program", full)
    assert command(*SMALL, "method=target_only", "hydra.run.dir=R").code == 1
    facts = json.loads((tmp_path / "R" / "result.json").read_text())
    assert facts["machine"]
    assert facts["error"].startswith("the memory of the device was full while the program ran: free some of it, or lower")
    monkeypatch.undo()
    for one, other in zip(cut, run_batch(configs), strict=True):
        assert one.metrics == other.metrics


@pytest.mark.parametrize("mode", ["map", "loop"])
def test_a_program_that_says_it_is_too_large_is_cut_before_it_runs(mode: str) -> None:
    words = [*SMALL, "method=target_only", "model.dim=12", f"train.replicas={mode}"]
    configs = [compose([*words, f"seed={seed}"]) for seed in range(4)]
    needed = run_batch(configs[:1])[0]
    assert needed.facts["replicas"] == 1
    whole = run_batch(configs)
    executables_of.cache_clear()
    cut = run_batch(configs, memory=1.0)  # nothing fits, so every run is alone
    assert [r.facts["replicas"] for r in whole] == [4] * 4
    assert [r.facts["replicas"] for r in cut] == [1] * 4
    assert [r.metrics for r in whole] == [r.metrics for r in cut]


def test_fair_gives_every_method_the_same_trials_and_tests_only_the_chosen(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    bias = '"hp.damping=choice(1,5,20)"'
    spaces = ('hydra.sweeper.spaces.target_only=["hp.l2=interval(1,20)"]', "+hydra.sweeper.spaces.item_bias=[" + bias + "]")
    fair = ("hydra.sweeper.trials=4", "hydra.sweeper.batch=2", "hydra.sweeper.seeds=2")
    words = ("-m", "sweep=fair", *SMALL, "method=target_only,item_bias,global_mean", *spaces, *fair, "hydra.sweep.dir=S")
    said = command(*words)
    assert said.code == 0, said.err
    found = results(tmp_path / "S")
    trials, tests = found[:8], found[8:]
    assert [r["method"] for r in trials].count("target_only") == [r["method"] for r in trials].count("item_bias") == 4
    assert all("test" not in r["metrics"] and r["seed"] == 0 for r in trials)
    assert [(r["method"], r["seed"]) for r in tests] == [
        (method, seed) for method in ("target_only", "item_bias", "global_mean") for seed in (1, 2)
    ]
    assert all(r["metrics"]["test"] for r in tests)
    hp = [json.loads((tmp_path / "S" / str(n) / "hp.json").read_text()) for n in range(14)]
    of = [
        (r["metrics"]["valid"]["rmse"], h["damping"])
        for r, h in zip(trials, hp, strict=False)
        if r["method"] == "item_bias"
    ]
    assert hp[10]["damping"] == min(of)[1]
    assert "14 of 14" not in command(*words).err  # batch by batch
    assert [r["id"] for r in results(tmp_path / "S")] == [r["id"] for r in found]
    assert "leave `seed` out" in command(*words, "seed=0,1").err


def test_a_trial_is_judged_by_the_mean_over_all_folds(command: Command, tmp_path: Path, no_figures: None) -> None:
    pytest.importorskip("optuna")
    space = '+hydra.sweeper.spaces.item_bias=["hp.damping=choice(1,20,400)"]'
    fair = ("sweep=fair", "hydra.sweeper.trials=4", "hydra.sweeper.seeds=2", "hydra.sweeper.folds=3")
    said = command("-m", *fair, *SMALL, "split=ratio", "method=item_bias", space, "hydra.sweep.dir=S")
    assert said.code == 0, said.err
    found = results(tmp_path / "S")
    trials, tests = found[:12], found[12:]
    assert [r["protocol"]["split"].get("fold") for r in found] == [*[0, 1, 2] * 4, None, None]
    assert all("test" not in r["metrics"] for r in trials)
    damping = [json.loads((tmp_path / "S" / str(n) / "hp.json").read_text())["damping"] for n in range(14)]
    means = {damping[n]: np.mean([r["metrics"]["valid"]["rmse"] for r in trials[n : n + 3]]) for n in range(0, 12, 3)}
    assert damping[12] == min(means, key=lambda value: means[value])
    assert all(r["metrics"]["test"] for r in tests)
    said = command(
        "-m", "sweep=fair", "hydra.sweeper.folds=0", *SMALL, "split=ratio", "method=item_bias", "hydra.sweep.dir=T"
    )
    assert said.code == 2
    assert "hydra.sweeper.folds=0: write 1 or more" in said.err


def test_what_a_search_chose_for_every_split_is_one_setting(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(page, "DRAWN", 1)
    space = '+hydra.sweeper.spaces.item_bias=["hp.damping=choice(1,5,20)"]'
    fair = ("sweep=fair", "hydra.sweeper.trials=4", "hydra.sweeper.batch=4", "hydra.sweeper.seeds=2")
    said = command("-m", *fair, *SMALL, "method=item_bias,global_mean", "split.seed=0,1", space, "hydra.sweep.dir=S")
    assert said.code == 0, said.err
    (comparison,) = compare(read_runs(tmp_path / "S"))
    assert comparison.part == "test"
    chosen = {one.method: one for one in comparison.best}
    assert {method: len(one.runs) for method, one in chosen.items()} == {"item_bias": 4, "global_mean": 4}, "of two splits"
    assert chosen["item_bias"].label == {"method": "item_bias"}
    trials = [one for one in comparison.settings if one.method == "item_bias" and not one.best]
    assert sum(len(one.runs) for one in trials) == 8
    assert all("hp.damping" in one.label for one in trials)
    text = (tmp_path / "S" / "index.html").read_text()
    assert "validation rmse by hp.damping" in text, "the trials are drawn"


def test_optuna_trials_of_a_batch_are_one_program_and_the_best_has_the_smallest_error(
    command: Command, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    tpe = ("-m", "sweep=tpe", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", *SMALL, "method=target_only")
    said = command(*tpe, "hydra.sweep.dir=S")
    assert said.code == 0, said.err
    found = results(tmp_path / "S")
    assert [r["replicas"] for r in found] == [2] * 4
    best = OmegaConf.load(tmp_path / "S" / "optimization_results.yaml")
    errors = [r["metrics"]["valid"]["rmse"] for r in found]
    assert len(set(errors)) == 4
    assert best.best_value == pytest.approx(-min(errors))
    rate = json.loads((tmp_path / "S" / str(errors.index(min(errors))) / "hp.json").read_text())["learning_rate"]
    assert best.best_params["hp.learning_rate"] == pytest.approx(rate)
    said = command(*tpe, "hydra.sweep.dir=S", "hydra.sweeper.direction=minimize")
    assert said.code == 2
    assert "hydra.sweeper.direction=minimize: leave it at maximize" in said.err


def test_a_folder_that_is_no_run_and_links_that_lead_back_are_passed_over(command: Command, tmp_path: Path) -> None:
    words = ("-m", *SMALL, "method=item_bias", "seed=0,1", "hydra.sweep.dir=S")
    assert command(*words).code == 0
    shutil.copytree(tmp_path / "S" / "0", tmp_path / "S" / "0-backup")
    (tmp_path / "S" / "7").symlink_to(tmp_path / "S")
    (tmp_path / "S" / "8").symlink_to(tmp_path / "nowhere")
    assert "2 of 2 runs are there" in command(*words).err


def test_a_ring_of_links_is_walked_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        (tmp_path / name / "up").symlink_to(tmp_path)
        (tmp_path / name / "lost").symlink_to(tmp_path / "nowhere")
    before = finished._stamp(tmp_path)
    assert finished._stamp(tmp_path) == before
    (tmp_path / "b" / "file").write_text("c")
    assert finished._stamp(tmp_path) != before


def test_two_sweeps_do_not_share_a_folder(command: Command, tmp_path: Path) -> None:
    """The second one says who is there, changes nothing and ends with 2; the lock of a dead process is taken over."""
    ready = "import sys, time; from pathlib import Path; from transfer.storage import lock; lock.hold(Path(sys.argv[1]))"
    script = [sys.executable, "-c", ready + "; print(1, flush=True); time.sleep(100)", str(tmp_path / "S")]
    other = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
    assert other.stdout
    with other.stdout:
        assert other.stdout.readline() == "1\n"
        words = ("-m", *SMALL, "method=item_bias", "seed=0,1", "hydra.sweep.dir=S")
        said = command(*words)
        assert said.code == 2
        assert f"process {other.pid} on " in said.err
        assert [path.name for path in (tmp_path / "S").iterdir()] == [".lock"]
        other.kill()
        other.wait()
    assert command(*words).code == 0
    assert not (tmp_path / "S" / ".lock").exists()


@pytest.mark.parametrize("sweep", ["seeds", "rates"])
def test_ready_made_sweeps_compose(sweep: str, command: Command, tmp_path: Path) -> None:
    said = command("-m", f"sweep={sweep}", *SMALL, "method=target_only", "train.epochs=1", "hydra.sweep.dir=S")
    assert said.code == 0, said.err
    assert len(results(tmp_path / "S")) == {"seeds": 10, "rates": 36}[sweep]

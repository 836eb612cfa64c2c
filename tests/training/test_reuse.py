"""Stages on which others build are fitted once for all runs that share them, and only for those."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted import tiny

import transfer.training.stages
from transfer.config.schema import Train
from transfer.experiment import Result, run_batch
from transfer.program import Fit, Program, Rate, Replicas, Solve, Task
from transfer.training import reuse
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

EMCDR = ("method=emcdr",)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Name and number of replicas of every gradient fit."""
    seen: list[tuple[str, int]] = []
    original = transfer.training.stages.train_stage

    def fit(stage: Any, task: Any, world: Any, done: Any, replicas: Any, *rest: Any) -> Any:
        seen.append((stage.name, len(replicas.keys)))
        return original(stage, task, world, done, replicas, *rest)

    monkeypatch.setattr(transfer.training.stages, "train_stage", fit)
    return seen


def assert_same(one: list[Result], other: list[Result]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.metrics == b.metrics
        for stage in a.parameters:
            np.testing.assert_equal(a.parameters[stage], b.parameters[stage])


def test_runs_that_differ_after_a_stage_share_it(fitted: list[tuple[str, int]], tmp_path: Path) -> None:
    configs = [tiny(*EMCDR, f"hp.ridge={ridge}", f"seed={seed}") for ridge in (1, 10) for seed in (0, 1)]
    plain = run_batch(configs)
    assert fitted == [("source", 4), ("target", 4)]
    fitted.clear()
    shared = run_batch(configs, reuse=tmp_path)
    assert fitted == [("source", 2), ("target", 2)]
    assert_same(plain, shared)
    assert plain[0].metrics != plain[2].metrics
    fitted.clear()
    # another method and another map start from the same source; a different number that the stage reads does not
    run_batch([tiny(*EMCDR, "method.map=mlp", "method.hidden=8", "seed=1")], reuse=tmp_path)
    assert fitted == [("map", 1)]
    fitted.clear()
    run_batch([tiny("method=finetune", "seed=1")], reuse=tmp_path)
    assert fitted == [("target", 1)]
    fitted.clear()
    run_batch([tiny(*EMCDR, "hp.l2=3", "seed=1"), tiny(*EMCDR, "seed=2")], reuse=tmp_path)
    assert fitted == [("source", 2), ("target", 2)], "neither is there"
    fitted.clear()
    run_batch([tiny(*EMCDR, "train.epochs=7", "seed=1")], reuse=tmp_path)
    run_batch([tiny(*EMCDR, "split.seed=5", "seed=1")], reuse=tmp_path)
    assert fitted == [("source", 1), ("target", 1)] * 2


def test_the_records_of_a_shared_stage_belong_to_every_run(tmp_path: Path) -> None:
    configs = [tiny(*EMCDR, f"hp.ridge={ridge}") for ridge in (1, 10)]
    folders = [tmp_path / "a", tmp_path / "b"]
    run_batch(configs, folders, reuse=tmp_path / "stages", alone=False)
    lines = [(folder / "metrics.jsonl").read_bytes() for folder in folders]
    assert lines[0] == lines[1]
    assert lines[0].count(b'"source"') == lines[0].count(b'"target"') == 6
    run_batch(configs, folders, reuse=tmp_path / "stages", alone=False)
    assert (folders[0] / "metrics.jsonl").read_bytes() == lines[0]


def test_a_stage_reads_what_it_reads() -> None:
    """What is found by tracing is what the functions use: all of hp where it is unpacked, nothing where it is not."""
    read = reuse._Read({"a": 1, "b": 2})
    assert read["a"] == 1
    assert read.names == {"a"}
    assert dict(read) == {"a": 1, "b": 2}
    assert read.names == {"a", "b"}
    assert reuse._Read({"a": 1}).get("b", 0) == 0


def test_two_that_want_one_entry_take_turns(tmp_path: Path) -> None:
    order: list[str] = []

    def work(name: str, names: list[str]) -> None:
        with reuse.claimed(tmp_path, names):
            order.append(f"{name} in")
            time.sleep(0.3)
            order.append(f"{name} out")

    threads = [
        threading.Thread(target=work, args=("first", ["x", "y"])),
        threading.Thread(target=work, args=("second", ["y", "x"])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(order) == 4
    assert order[0][:5] == order[1][:5]
    assert order[2][:5] == order[3][:5] != order[0][:5]


def test_a_stage_may_ask_for_a_later_one(fitted: list[tuple[str, int]], tmp_path: Path) -> None:
    """The scores of kernel_map's first stage ask whether the second is done: no, while the first is fitted."""
    configs = [tiny("task=ranking", "task.k=[10]", "method=kernel_map", f"hp.ridge={ridge}") for ridge in (1, 3)]
    assert_same(run_batch(configs), run_batch(configs, reuse=tmp_path))
    assert fitted == [("kernel", 2)] * 2


def test_a_damaged_entry_is_made_again(fitted: list[tuple[str, int]], tmp_path: Path) -> None:
    configs = [tiny("method=finetune", "seed=1")]
    first = run_batch(configs, reuse=tmp_path)
    (entry,) = tmp_path.glob("*.safetensors")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-8] + bytes(8))
    fitted.clear()
    assert_same(run_batch(configs, reuse=tmp_path), first)
    assert fitted == [("source", 1), ("target", 1)]
    assert entry.read_bytes() == whole


def pulled_stage() -> Fit:
    """w seeks 5 at hp.discriminator_rate times the rate, and is pulled towards an earlier stage by hp.pull."""

    def loss(params: Any, done: Any, batch: Any, hp: Any, key: jax.Array, progress: jax.Array) -> jax.Array:
        return jnp.square(params["w"] - 5) + hp["pull"] * jnp.square(params["w"] - done["before"]["w"])

    return Fit(
        "pulled",
        init=lambda world, done, key: {"w": jnp.float32(0)},
        batch=lambda world, done, key: world,
        loss=loss,
        size=lambda world: 5,
        scores=lambda world, done, hp: done["pulled"]["w"],
        heldout=lambda world: None,
        optimizer=lambda hp: optax.sgd(0.01),
        rates=lambda params: {"w": Rate(by="discriminator_rate")},
    )


@pytest.mark.parametrize(("name", "fits"), [("discriminator_rate", 2), ("pull", 2), ("before", 2), ("unread", 1)])
def test_an_entry_belongs_to_what_the_loss_and_the_rates_read(
    name: str, fits: int, fitted: list[tuple[str, int]], tmp_path: Path
) -> None:
    """Runs that differ in one number share a stage only where neither its loss, `done` in it, nor a rate reads that."""
    metrics = lambda scores, heldout: {"score": scores}  # noqa: E731
    task = Task("score", 1, None, None, metrics, None, None, None)  # type: ignore[arg-type]
    program = Program(
        (
            Solve("before", lambda world, done, hp, key: {"w": hp["before"]}),
            pulled_stage(),
            Solve("last", lambda world, done, hp, key: done["pulled"]),
        ),
        scores=lambda world, done, hp: None,  # type: ignore[arg-type,return-value]
    )
    train = Train(
        epochs=2,
        batch_size=1,
        evaluate_every=1,
        patience=9,
        keep="best",
        replicas="map",
        checkpoint_seconds=60,
        progress=False,
    )
    values = {"discriminator_rate": 1.0, "pull": 1.0, "before": 2.0, "unread": 1.0}
    ends = []
    for changed in (values, {**values, name: 0.5}):
        rows = Replicas(jax.random.key(0)[None], {key: jnp.full(1, value) for key, value in changed.items()})
        job = Job(task, jnp.float32(1), "", rows, ["0"], [0], train, Compiler("map", {}, {}), reuse=tmp_path)
        ends.append(float(run_stages(program, job)[0]["last"]["w"][0]))
    assert fitted == [("pulled", 1)] * fits
    assert (ends[0] == ends[1]) == (fits == 1)

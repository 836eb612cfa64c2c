"""Budgets in steps and in seconds: what is spent, what is kept, and that a resumed run goes on with what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import tiny
from test_train import GOAL, PER_EPOCH, TOY_TASK, Toy, toy_stage

import transfer.training.loop
import transfer.training.stages
from transfer.api import compose
from transfer.config.schema import Train
from transfer.console import Interrupted
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.program import Program, Rate, Replicas
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

USUAL: dict[str, Any] = {"epochs": 40, "batch_size": 1, "evaluate_every": 1, "patience": 100, "replicas": "map"}


def fitted(
    *toys: Toy, path: Path | None = None, resume: bool = False, since: float = 0.0, **budget: Any
) -> tuple[Any, Any, Job]:
    keys = jax.vmap(jax.random.key)(jnp.array([toy.seed for toy in toys], jnp.uint32))
    hp = {name: jnp.array([getattr(toy, name) for toy in toys], jnp.float32) for name in ("turn", "learning_rate", "noise")}
    train = Train(**{**USUAL, "checkpoint_seconds": 0.0, "progress": False, **budget})
    ids, seeds = [str(i) for i in range(len(toys))], [toy.seed for toy in toys]
    job = Job(TOY_TASK, jnp.float32(1), "", Replicas(keys, hp), ids, seeds, train, Compiler("map", {}, {}), path)
    stage = toy_stage()._replace(rates=lambda params: {"w": Rate(since=since), "kept": Rate()})
    program = Program((stage,), scores=lambda world, done, hp: None)  # type: ignore[arg-type,return-value]
    done, records = run_stages(program, job, resume)
    return jax.device_get(done), records, job


def after(steps: int, rate: float) -> float:
    """w of gradient descent on (w - GOAL)² from 0."""
    return GOAL * (1 - (1 - 2 * rate) ** steps)


@pytest.mark.parametrize(("steps", "stops"), [(7, [3, 6, 7]), (6, [3, 6]), (2, [2]), (200, range(3, 201, 3))])
def test_a_budget_of_steps_is_kept_to_the_step(steps: int, stops: Any) -> None:
    """Whatever epochs say: 40 of them are 120 steps."""
    done, records, _ = fitted(Toy(turn=GOAL), steps=steps)
    assert [record["step"] for record in records[0]] == list(stops) + [200] * (steps == 200)
    np.testing.assert_allclose(done["toy"]["w"][0], after(steps, Toy(0).learning_rate), rtol=1e-5)


@pytest.mark.parametrize(("since", "blocks"), [(0.0, 4), (0.5, 22), (1.0, 40)])
def test_patience_begins_when_all_parameters_train(since: float, blocks: int) -> None:
    """Validation never likes anything better than the first block; w joins at this share of 40 blocks."""
    records = fitted(Toy(turn=-1.0), since=since, patience=3)[1][0]
    assert len(records) == blocks


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every block takes a second, and nothing else any time."""
    now, run = [0.0], Compiler.__call__

    def timed(self: Compiler, name: str, *arguments: Any, **options: Any) -> Any:
        now[0] += "block" in name
        return run(self, name, *arguments, **options)

    monkeypatch.setattr(transfer.training.loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Compiler, "__call__", timed)


@pytest.mark.usefixtures("clock")
def test_seconds_end_a_stage_between_blocks_and_the_best_is_kept() -> None:
    """A block for every second; two replicas have half of each. Validation likes w = turn, passed in the second block."""
    turn = after(2 * PER_EPOCH, Toy(0).learning_rate)
    done, records, job = fitted(Toy(turn=turn), seconds=4.5)
    assert len(records[0]) == 5, "the fifth block had begun"
    assert job.spent["toy"] == [5.0]
    np.testing.assert_allclose(done["toy"]["w"][0], turn, rtol=1e-5)
    _, records, job = fitted(Toy(turn=turn), Toy(turn=turn, seed=1), seconds=4.5)
    assert [len(own) for own in records] == [9, 9]
    assert job.spent["toy"].tolist() == [4.5, 4.5]
    assert len(fitted(Toy(turn=turn))[1][0]) == USUAL["epochs"], "the control: without a budget of seconds it goes on"


@pytest.mark.usefixtures("clock")
def test_a_resumed_run_has_only_the_seconds_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(Toy(turn=GOAL), seconds=6.0)[1]
    blocks: list[int] = []
    monkeypatch.setattr(transfer.training.stages.Progress, "update", lambda *_: blocks.append(1))
    monkeypatch.setattr(transfer.training.stages, "interrupted", lambda: len(blocks) == 4)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Interrupted):
        fitted(Toy(turn=GOAL), seconds=6.0, path=path)
    _, records, job = fitted(Toy(turn=GOAL), seconds=6.0, path=path, resume=True)
    assert len(blocks) == 6
    assert records == whole
    assert job.spent["toy"] == [6.0]


def test_a_result_says_whether_its_budget_can_be_repeated() -> None:
    timed, counted = (run_batch([tiny("method=target_only", word)])[0] for word in ("train.seconds=1e-6", "train.steps=3"))
    assert timed.facts["reproducible"] is False
    assert counted.facts["reproducible"] is True
    assert timed.facts["seconds_by_stage"]["target"] > 0
    assert counted.facts["selected"]["target"]["step"] <= 3
    for word in ("train.seconds=0", "train.steps=0"):
        with pytest.raises(TransferError, match=word.split("=")[0]):
            compose([word])

"""sweep=halving: weak trials end after a part of the budget, the best has all of it, and nothing is run twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from planted import BUDGET, RATING, WORLD

pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("no_figures")
EPOCHS, TRIALS = 8, 8
# Half of the rates are so small that nothing is learnt.
SPACE = 'hydra.sweeper.spaces.target_only=["hp.learning_rate=tag(log, interval(1e-8, 0.05))"]'
WORDS = (
    *("-m", "sweep=halving", *RATING, *WORLD, *BUDGET, "method=target_only,global_mean", SPACE, "hydra.sweep.dir=S"),
    *(f"train.epochs={EPOCHS}", "hydra.sweeper.reduction=2", "hydra.sweeper.rungs=3"),
    *(
        f"hydra.sweeper.trials={TRIALS}",
        f"hydra.sweeper.batch={TRIALS}",
        "hydra.sweeper.seeds=1",
        "hydra.sweeper.sampler_seed=3",
    ),
)


def runs(folder: Path) -> list[dict[str, Any]]:
    """Every run by number: what it was given, and its validation error."""
    found = []
    for place in sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name)):
        result, hp = (json.loads((place / name).read_text()) for name in ("result.json", "hp.json"))
        words = (place / ".hydra" / "overrides.yaml").read_text()
        given = [int(part.partition('"')[0]) for part in words.split("train.epochs=")[1:]]
        valid = result["metrics"]["valid"].get("rmse")
        rate = hp.get("learning_rate")
        found.append({"method": result["method"], "rate": rate, "epochs": given[-1], "valid": valid, **result})
    return found


def test_weak_trials_end_early_and_the_best_goes_on(command: Command, tmp_path: Path) -> None:
    said = command(*WORDS)
    assert said.code == 0, said.err
    found = runs(tmp_path / "S")
    trials = [run for run in found if "test" not in run["metrics"]]
    rungs = {epochs: {run["rate"]: run["valid"] for run in trials if run["epochs"] == epochs} for epochs in (2, 4, 8)}
    assert [len(of) for of in rungs.values()] == [TRIALS, TRIALS // 2, TRIALS // 4]
    assert rungs[2].keys() > rungs[4].keys() >= rungs[8].keys() != set(), "who goes on was there before"
    assert min(rungs[2], key=rungs[2].__getitem__) in rungs[8], "the best of the first rung has the whole budget"
    weak = [rate for rate in rungs[2] if rate < 1e-6]
    assert len(weak) >= 3
    assert not set(weak) & rungs[4].keys(), "what was planted to learn nothing is stopped at the first rung"
    assert sum(run["epochs"] for run in trials) < EPOCHS * TRIALS, "the control: every trial with all of its budget"
    tests = {run["method"]: run for run in found if "test" in run["metrics"]}
    assert set(tests) == {"target_only", "global_mean"}
    assert tests["target_only"]["rate"] == min(rungs[8], key=rungs[8].__getitem__)
    assert tests["target_only"]["epochs"] == EPOCHS
    assert f"{TRIALS} trials are done, {TRIALS - len(rungs[8])} of them ended early" in said.err
    ids = [run["id"] for run in found]
    command(*WORDS)
    assert [run["id"] for run in runs(tmp_path / "S")] == ids, "the same command finds all of it again"

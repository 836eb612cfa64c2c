"""One run over two devices: its batches, or these and its tables, divided; the numbers of one device, to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from planted import BUDGET, RANKING, WORLD, tiny

from transfer.errors import TransferError
from transfer.experiment.run import run_batch
from transfer.training import devices

# Runs every command of its arguments, and says of each what its training block exchanges and how its state lies.
SCRIPT = """
import json, sys
import jax, numpy as np
from transfer.api import compose
from transfer.experiment import run_batch
import transfer.experiment.run as life

made = {}
life.executables_of = lambda *key: made.setdefault(key, {})  # to be looked at
EXCHANGES = " all-reduce(", " all-gather(", " collective-permute(", " all-to-all("
for words in json.loads(sys.argv[1]):
    made.clear()
    result, = run_batch([compose(words)])
    blocks = [each[0] for of in made.values() for key, each in of.items() if "/block" in key[0] and isinstance(key, tuple)]
    leaves, _ = jax.tree_util.tree_flatten_with_path(result.parameters)
    text, places = blocks[0].as_text(), jax.tree.leaves(blocks[0].output_shardings)
    print(json.dumps({
        "metrics": result.metrics,
        "parameters": {jax.tree_util.keystr(keys): np.asarray(leaf).reshape(-1).tolist() for keys, leaf in leaves},
        "exchanges": sum(map(text.count, EXCHANGES)),
        "divided": sum(not place.is_fully_replicated for place in places),
    }))
"""
LATE = (*RANKING[:2], *WORLD, *BUDGET[:1], "method=cmf", "task.loss=bpr", "train.batch_size=16", "train.epochs=1")
CASES = {
    "late tables": (*LATE, "train.tables=late", "train.steps=40"),
    "a transformer": (
        *(*RANKING, *WORLD, *BUDGET[:1], "split=global_time", "method=target_only", "model=sasrec", "model.length=8"),
        *("train.batch_size=16", "train.steps=20"),
    ),
    "a game": ("domain=digits_shift", "domain.target=rotated", "method=dann", "train.steps=10", "train.replicas=vmap"),
}


def runs(*commands: tuple[str, ...]) -> list[dict[str, Any]]:
    """Those commands, in one process with two devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([[*words, "train.progress=false"] for words in commands])],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("name", "shards"),
    [
        ("late tables", ("batch", "tables")),
        pytest.param("a transformer", ("batch", "tables"), marks=pytest.mark.slow),
        pytest.param("a game", ("tables",), marks=pytest.mark.slow),
    ],
)
def test_divided_batches_and_tables_give_the_numbers_of_one_device(name: str, shards: tuple[str, ...]) -> None:
    one, *others = runs(*((*CASES[name], f"train.shard={shard}") for shard in ("auto", *shards)))
    assert one["exchanges"] == one["divided"] == 0
    for shard, other in zip(shards, others, strict=True):
        assert other["exchanges"] > 0, "every device has all of the batch"
        assert other["divided"] >= 3 if shard == "tables" else other["divided"] == 0, "a table and its moments"
        for key, wanted in one["parameters"].items():
            np.testing.assert_allclose(other["parameters"][key], wanted, rtol=2e-3, atol=2e-5, err_msg=key)
        for part, values in one["metrics"].items():
            assert other["metrics"][part] == pytest.approx(values, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("shard", ["replicas", "batch", "tables"])
def test_one_device_has_nothing_to_divide(shard: str) -> None:
    with pytest.raises(TransferError, match=f"train.shard={shard} has no effect on one device; write train.shard=auto"):
        run_batch([tiny("method=target_only", f"train.shard={shard}")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("method=ease", *RANKING, "train.shard=batch"), "no stage learns from batches that 2 devices can divide"),
        (("method=target_only", "train.batch_size=255", "train.shard=batch"), "a train.batch_size that is a multiple of 2"),
        (("method=target_only", "train.shard=batch", "train.replicas=loop"), "train.replicas=loop runs on one device"),
        (("method=target_only", "train.shard=replicas"), "train.shard=replicas has no effect on one run"),
        (("method=popularity", *RANKING, "train.shard=tables"), "no table has rows or columns that 2 devices can divide"),
    ],
)
def test_two_devices_that_would_share_nothing_are_an_error(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "placed", lambda tree, tables=False: tree)
    with pytest.raises(TransferError, match=said):
        run_batch([tiny(*words)])

"""The replica axis over two devices, one trace per program, and programs kept between processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from planted import BUDGET, RATING, WORLD, tiny

import transfer.training.stages
from transfer.experiment.run import run_batch
from transfer.training.compiler import executables_of

SCRIPT = """
import json, sys
import jax
from transfer.api import compose
from transfer.experiment import run_batch

hits, misses = [], []
def listen(name, **_):
    if name.endswith("/cache_hits"): hits.append(name)
    if name.endswith("/cache_misses"): misses.append(name)
jax.monitoring.register_event_listener(listen)
words, seeds = json.loads(sys.argv[1]), json.loads(sys.argv[2])
results = run_batch([compose([*words, f"seed={seed}"]) for seed in seeds])
print(json.dumps({
    "devices": len(jax.devices()), "hits": len(hits), "misses": len(misses), "metrics": [r.metrics for r in results],
    "sums": [r.parameters["target"]["body"]["factors"].tobytes().hex() for r in results],
}))
"""


def run_script(seeds: list[int], cache: Path, devices: int = 1, mode: str = "map") -> dict:
    words = [*RATING, *WORLD, *BUDGET, "method=target_only", f"train.replicas={mode}"]
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flags}"}
    command = [sys.executable, "-c", SCRIPT, json.dumps(words), json.dumps(seeds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Three replicas on one device, and the folder where their programs are kept: nothing was there before."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, run_script([0, 1, 2], cache)


def test_two_devices_give_the_numbers_of_one_to_rounding(first: tuple[Path, dict]) -> None:
    """Three replicas on two devices: the second device's share is filled up, and what fills it is dropped."""
    one, two = first[1], run_script([0, 1, 2], first[0], 2)
    assert (one["devices"], two["devices"]) == (1, 2)
    factors = [[np.frombuffer(bytes.fromhex(text), np.float32) for text in run["sums"]] for run in (one, two)]
    np.testing.assert_allclose(factors[0], factors[1], rtol=1e-6, atol=1e-8)  # equal bits until jaxlib 0.12
    for metrics, expected in zip(two["metrics"], one["metrics"], strict=True):
        for part in ("valid", "test"):
            assert metrics[part] == pytest.approx(expected[part], rel=1e-6)
    assert len(set(one["sums"])) == 3


def test_a_second_process_compiles_nothing(first: tuple[Path, dict]) -> None:
    second = run_script([5, 6, 7], first[0])
    assert first[1]["misses"] > 0
    assert second["misses"] == 0
    assert second["hits"] >= 3


@pytest.mark.parametrize("mode", ["map", "vmap", "loop"])
def test_one_trace_per_program_whatever_the_number_of_replicas(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[str] = []
    original = transfer.training.loop.make_block

    def make_block(*arguments: object) -> object:
        block = original(*arguments)

        def counted(world: object, each: object) -> object:
            traced.append(mode)
            return block(world, each)

        return counted

    monkeypatch.setattr(transfer.training.loop, "make_block", make_block)
    counts = []
    for replicas in (1, 5):
        traced.clear()
        executables_of.cache_clear()
        run_batch([tiny("method=target_only", f"train.replicas={mode}", f"seed={seed}") for seed in range(replicas)])
        counts.append(len(traced))
    assert counts[0] == counts[1] > 0
    traced.clear()
    run_batch([tiny("method=target_only", f"train.replicas={mode}", f"seed={seed}", "hp.l2=7") for seed in range(5, 10)])
    assert not traced

"""What a program needs is known before it starts, of each run its own; a solve's seconds are training's."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment.run import run_batch
from transfer.program import Replicas, Solve
from transfer.solvers import histories
from transfer.storage import memory
from transfer.storage.memory import GIB, Free, host_memory
from transfer.training import device_memory
from transfer.training.compiler import Compiler, TooLarge
from transfer.training.loop import solve

ROWS = 512


def product(_: Any, row: jax.Array) -> jax.Array:
    """Needs at least one matrix of ROWS x ROWS beside its argument."""
    return jnp.sum(jnp.linalg.qr(jnp.outer(row, row) + jnp.eye(ROWS))[0] ** 2, axis=0)


def test_peak_memory_is_of_the_programs_of_this_run_and_not_of_the_process() -> None:
    ballast = np.ones(2**26)  # 512 MiB that this process has had
    del ballast
    run = Compiler("map", {}, {})
    run("small", lambda _, row: row + 1, 0.0, jnp.ones((1, ROWS)))
    small = run.peak_memory
    assert small == 2 * 4 * ROWS  # the argument and the result
    run("product", product, 0.0, jnp.ones((1, ROWS)))
    assert 4 * ROWS**2 < run.peak_memory < 40 * ROWS**2
    again = Compiler("map", {}, run.executables)
    again("small", lambda _, row: row + 1, 0.0, jnp.ones((1, ROWS)))
    assert again.peak_memory == small, "what another run compiled counts where it is run"


@pytest.mark.parametrize("mode", ["loop", "map", "vmap"])
def test_the_memory_of_what_is_used_up_is_that_of_the_result(mode: str) -> None:
    """The state of a block is held once: its arrays are gone, those that are kept are not, and less is needed."""

    def both(_: Any, row: Any) -> jax.Array:
        state, kept = row
        return state + kept

    needs = {}
    for used_up in (True, False):
        state, kept = jnp.ones((1, ROWS, ROWS)), jnp.ones((1, ROWS, ROWS))
        run = Compiler(mode, {}, {})
        found = run("both", both, 0.0, (state, kept), used_up=used_up)
        np.testing.assert_array_equal(found, 2.0)
        assert state.is_deleted() is used_up
        assert not kept.is_deleted()
        needs[used_up] = run.peak_memory
    assert needs[False] - needs[True] == 4 * ROWS**2


def test_one_replica_too_is_refused_before_it_runs_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "host_memory", lambda: Free(ROWS**2, "of the test"))
    words = ["domain=simulated", "method=ease", "task=ranking", "train.progress=false"]
    with pytest.raises(TooLarge) as caught:
        Compiler("map", {}, {})("product", product, 0.0, jnp.ones((1, ROWS)))
    assert caught.value.fits == 0
    said = str(caught.value)
    assert "\n" not in said
    assert "GiB of memory, and 0.00 GiB of the test are free" in said
    assert "target_only" in said
    monkeypatch.setattr(device_memory, "host_memory", lambda: Free(1000.0, "of the test"))
    with pytest.raises(TransferError, match="of the test are free"):
        run_batch([compose(words)])


def test_a_dense_matrix_is_refused_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.check_dense(1000, 1000, "method=x")
    monkeypatch.setattr(histories, "host_memory", lambda: Free(3.9e6, "of the test"))
    with pytest.raises(TransferError, match=r"1,000 x 1,000 matrix \(0\.0 GiB\): 0\.0 GiB of the test are free"):
        histories.check_dense(1000, 1000, "method=x")


def test_the_memory_of_control_groups_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2, with a limit at the parent alone, and version 1; files in memory are given back."""
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    lines = {
        "0::/a/b": ("memory.max", "memory.current"),
        "4:memory:/a/b": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    }
    for line, (limit, used) in lines.items():
        top = tmp_path / ("memory" if "memory:" in line else "")
        for folder, most in ((top / "a" / "b", "max"), (top / "a", "1000")):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / limit).write_text(most + "\n")
            (folder / used).write_text("600\n")
            (folder / "memory.stat").write_text("anon 1\ninactive_file 50\n")
        reads = Path.read_text
        monkeypatch.setattr(
            Path, "read_text", lambda path, line=line, reads=reads: line if path.name == "cgroup" else reads(path)
        )
        assert host_memory() == (450, "of the control group (cgroup)"), line
        monkeypatch.setattr(Path, "read_text", reads)


def test_the_limit_of_the_shell_counts() -> None:
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({64 * GIB}, {64 * GIB}))\n"
        "from transfer.storage import memory\n"
        "import psutil; print(memory._of_limits()[0].size + psutil.Process().memory_info().vms)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) == pytest.approx(64 * GIB, rel=0.01)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 64 * GIB


def test_a_slow_solve_is_over_when_its_stage_is() -> None:
    """A closed form of some tenths of a second: without waiting for it, evaluation would be charged with them."""

    def work(world: Any, done: Any, hp: Any, key: Any) -> jax.Array:
        x = jax.random.normal(key, (1000, 1000))
        return jax.lax.fori_loop(0, 5, lambda _, x: x @ x / jnp.linalg.norm(x), x)

    replicas = Replicas(jax.vmap(jax.random.key)(jnp.arange(1)), {})
    run, stage = Compiler("map", {}, {}), Solve("slow", work)
    for _ in range(2):  # the second time nothing is compiled
        assert solve(stage, jnp.zeros(1), {}, replicas, run).is_ready()

"""Compiled executables over replicas, on a host's devices and in its memory: vmap, lax.map or a loop over one of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import psutil
from jax.sharding import AxisType, PartitionSpec

# Seconds by phase; `compile` is counted apart, `steps` is the part of training spent inside executables.
Clock = dict[str, float]

# The part of the memory found free that an executable may ask for.
SHARE = 0.8


class TooLarge(Exception):
    """An executable for these many replicas would not fit into memory; `fits` of them should."""

    def __init__(self, fits: int):
        super().__init__(f"at most {fits} replicas fit into memory")
        self.fits = fits


@dataclass(frozen=True)
class Compiler:
    """Runs functions over replicas: mode `auto`, `vmap`, `map` or `loop`; a clock; the executables compiled so far.

    With several devices the replica axis is divided among them. limit: bytes that one may need (None: what is free).
    """

    mode: str
    clock: Clock
    executables: dict[Any, Any]
    limit: float | None = None

    def __call__(self, name: str, function: Callable[..., Any], shared: Any, rows: Any) -> Any:
        """function(shared, row) for every row of `rows` (their leading axis), compiled once per name and shapes.

        Raises TooLarge where the executable's own analysis says that it would not fit into memory.
        """
        mode = resolve(self.mode)
        if mode != "loop":
            return self._run(name, function, mode, shared, rows)
        single = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], rows) for i in range(_count(rows))]
        results = [self._run(name, function, "map", shared, row) for row in single]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)

    def _run(self, name: str, function: Callable[..., Any], mode: str, shared: Any, rows: Any) -> Any:
        count, devices = _count(rows), len(jax.local_devices())
        devices = min(devices, count)
        # the last row is repeated until every device has as many
        padded = jax.tree.map(lambda leaf: _padded(leaf, -count % devices), rows) if count % devices else rows
        key = (name, count)
        if key not in self.executables:
            began = time.perf_counter()
            executable = jax.jit(over_replicas(function, mode, devices)).lower(shared, padded).compile()
            self.clock["compile"] = self.clock.get("compile", 0.0) + time.perf_counter() - began
            self._check_memory(executable, count, devices)
            self.executables[key] = executable
        results = self.executables[key](shared, padded)
        return jax.tree.map(lambda leaf: leaf[:count], results) if padded is not rows else results

    def _check_memory(self, executable: Any, count: int, devices: int) -> None:
        need, free = needed_memory(executable), self.limit or free_memory()
        if need > free and count > devices:
            raise TooLarge(max(devices, min(count - 1, int(count * free / need))))


def needed_memory(executable: Any) -> float:
    """Bytes on one device that an executable says it needs for arguments, results and temporaries."""
    facts = executable.memory_analysis()
    if facts is None:  # some backends do not tell
        return 0.0
    held = facts.argument_size_in_bytes + facts.output_size_in_bytes - facts.alias_size_in_bytes
    return held + facts.temp_size_in_bytes


def free_memory() -> float:
    """Bytes that an executable may need on one device: of its own memory, or of the host's where they are the same."""
    devices = jax.local_devices()
    facts = devices[0].memory_stats()
    if facts and "bytes_limit" in facts:
        return SHARE * facts["bytes_limit"]
    return SHARE * psutil.virtual_memory().available / len(devices)


def over_replicas(function: Callable[..., Any], mode: str, devices: int = 1) -> Callable[..., Any]:
    """function(shared, row) over the leading axis of rows, by vmap or by lax.map; the results are stacked alike.

    With several devices each of them takes an equal part of the axis and goes on as a single one would.
    """

    def every_row(shared: Any, rows: Any) -> Any:
        if mode == "vmap":
            return jax.vmap(function, in_axes=(None, 0))(shared, rows)
        return jax.lax.map(lambda row: function(shared, row), rows)

    if devices == 1:
        return every_row
    mesh = jax.make_mesh((devices,), ("replica",), (AxisType.Auto,), devices=jax.local_devices()[:devices])
    replicas = PartitionSpec("replica")
    return jax.shard_map(every_row, mesh=mesh, in_specs=(PartitionSpec(), replicas), out_specs=replicas, check_vma=False)


def resolve(mode: str) -> str:
    """`auto` is lax.map on CPUs, where vectorised scatters are slow, and vmap elsewhere."""
    if mode != "auto":
        return mode
    return "map" if jax.default_backend() == "cpu" else "vmap"


def use_compilation_cache() -> None:
    """Keep executables in the user's own cache folder (mode 700: whatever lies there is run)."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transfer" / "xla"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _count(rows: Any) -> int:
    return jax.tree.leaves(rows)[0].shape[0]


def _padded(leaf: jax.Array, more: int) -> jax.Array:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], more, axis=0)])

"""How replicas share a program, a host's devices and memory: vmap, lax.map or a loop over one compiled function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import psutil
from jax.sharding import AxisType, PartitionSpec

# Seconds by phase; `compile` is counted apart, `steps` is the part of training spent inside compiled programs.
Clock = dict[str, float]

# The part of the memory found free that a program may ask for.
SHARE = 0.8


class TooLarge(MemoryError):
    """A program for these many replicas would not fit into memory; `fits` of them should."""

    def __init__(self, fits: int):
        super().__init__(f"at most {fits} replicas fit into memory")
        self.fits = fits


@dataclass(frozen=True)
class Compiler:
    """Runs functions over replicas: mode `auto`, `vmap`, `map` or `loop`; a clock; the programs compiled so far.

    With several devices the replica axis is divided among them. limit: bytes that a program may need (None: what is free).
    """

    mode: str
    clock: Clock
    programs: dict[Any, Any]
    limit: float | None = None

    def __call__(self, name: str, function: Callable[..., Any], shared: Any, each: Any) -> Any:
        """function(shared, row) for every row of `each` (its leading axis), compiled once per name and shapes.

        Raises TooLarge where the compiled program's own analysis says that it would not fit into memory.
        """
        mode = resolve(self.mode)
        if mode != "loop":
            return self._run(name, function, mode, shared, each)
        rows = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], each) for i in range(_count(each))]
        results = [self._run(name, function, "map", shared, row) for row in rows]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)

    def _run(self, name: str, function: Callable[..., Any], mode: str, shared: Any, each: Any) -> Any:
        count, devices = _count(each), len(jax.local_devices())
        devices = min(devices, count)
        # the last row is repeated until every device has as many
        padded = jax.tree.map(lambda leaf: _padded(leaf, -count % devices), each) if count % devices else each
        key = (name, count)
        if key not in self.programs:
            began = time.perf_counter()
            program = jax.jit(over_replicas(function, mode, devices)).lower(shared, padded).compile()
            self.clock["compile"] = self.clock.get("compile", 0.0) + time.perf_counter() - began
            self._check_memory(program, count, devices)
            self.programs[key] = program
        results = self.programs[key](shared, padded)
        return jax.tree.map(lambda leaf: leaf[:count], results) if padded is not each else results

    def _check_memory(self, program: Any, count: int, devices: int) -> None:
        need, free = needed_memory(program), self.limit or free_memory()
        if need > free and count > devices:
            raise TooLarge(max(devices, min(count - 1, int(count * free / need))))


def needed_memory(program: Any) -> float:
    """Bytes on one device that a compiled program says it needs for arguments, results and temporaries."""
    facts = program.memory_analysis()
    if facts is None:  # some backends do not tell
        return 0.0
    held = facts.argument_size_in_bytes + facts.output_size_in_bytes - facts.alias_size_in_bytes
    return held + facts.temp_size_in_bytes


def free_memory() -> float:
    """Bytes that a program may need on one device: of its own memory, or of the host's where they are the same."""
    devices = jax.local_devices()
    facts = devices[0].memory_stats()
    if facts and "bytes_limit" in facts:
        return SHARE * facts["bytes_limit"]
    return SHARE * psutil.virtual_memory().available / len(devices)


def over_replicas(function: Callable[..., Any], mode: str, devices: int = 1) -> Callable[..., Any]:
    """function(shared, each) over the leading axis of `each`, by vmap or by lax.map; the results are stacked alike.

    With several devices each of them takes an equal part of the axis and goes on as a single one would.
    """

    def every(shared: Any, each: Any) -> Any:
        if mode == "vmap":
            return jax.vmap(function, in_axes=(None, 0))(shared, each)
        return jax.lax.map(lambda one: function(shared, one), each)

    if devices == 1:
        return every
    mesh = jax.make_mesh((devices,), ("replica",), (AxisType.Auto,), devices=jax.local_devices()[:devices])
    rows = PartitionSpec("replica")
    return jax.shard_map(every, mesh=mesh, in_specs=(PartitionSpec(), rows), out_specs=rows, check_vma=False)


def resolve(mode: str) -> str:
    """`auto` is lax.map on CPUs, where vectorised scatters are slow, and vmap elsewhere."""
    if mode != "auto":
        return mode
    return "map" if jax.default_backend() == "cpu" else "vmap"


def _count(each: Any) -> int:
    return jax.tree.leaves(each)[0].shape[0]


def _padded(leaf: jax.Array, more: int) -> jax.Array:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], more, axis=0)])

"""Compiled executables over replicas, on all devices and in their memory: vmap, lax.map or a loop over one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from transfer.errors import MachineError
from transfer.storage.memory import GIB, Free
from transfer.training import devices as dividing
from transfer.training.device_memory import SHARE, Memory, device_memory, memory_of

# Seconds by phase; `compile` is counted apart, `steps` is the part of training spent inside executables.
Clock = dict[str, float]

LESS = (
    "lower train.batch_size or model.dim, keep fewer users and items with domain.core, or choose a method without dense "
    "matrices: target_only, cmf, finetune, emcdr, popularity, item_bias"
)


class TooLarge(MachineError):
    """An executable for these many replicas would not fit into memory; `fits` of them should (0: not even one)."""

    def __init__(self, fits: int, need: float, free: Free):
        there = f"{free.size / GIB:.2f} GiB {free.bound} are free"
        super().__init__(f"this program needs {need / GIB:.2f} GiB of memory, and {there}; {LESS}")
        self.fits = fits


class NoRoom(MachineError):
    """The device had no memory left while a program ran, although its size had been found to fit."""

    def __init__(self) -> None:
        super().__init__(f"the memory of the device was full while the program ran: free some of it, or {LESS}")


@contextmanager
def telling_no_room() -> Iterator[None]:
    """Raise NoRoom where the runtime says over many lines that memory is exhausted."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise NoRoom() from error
        raise


@lru_cache(maxsize=64)
def executables_of(key: str, shapes: str) -> dict[Any, Any]:
    """What this process compiled for a program on worlds of these shapes: runs that differ in numbers compile nothing."""
    return {}


def shapes_of(world: Any) -> str:
    """The structure of a world, and shapes and types of its arrays, as text."""
    return str((jax.tree.structure(world), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(world)]))


@dataclass(frozen=True)
class Compiler:
    """Runs functions over replicas: mode `auto`, `vmap`, `map` or `loop`; a clock; what was traced and compiled so far.

    shard: what several devices divide, the replicas, or the batches (and tables) of each, as functions say themselves.
    limit: bytes that one may need (None: what is free). A name stands for one function: what is traced for its shapes or
    its text is not traced again to run it.
    """

    mode: str
    clock: Clock
    executables: dict[Any, Any]
    limit: float | None = None
    shard: str = "replicas"
    needs: dict[str, float] = field(default_factory=dict)  # bytes by name that this compiler has run

    @property
    def peak_memory(self) -> float:
        """Bytes on one device that the largest executable of this run needs, by the compiler's own analysis."""
        return max(self.needs.values(), default=0.0)

    def __call__(
        self,
        name: str,
        function: Callable[..., Any],
        shared: Any,
        rows: Any,
        *,
        used_up: bool = False,
        parameters: bool = False,
    ) -> Any:
        """function(shared, row) for every row of `rows` (their leading axis), compiled once per name and shapes.

        used_up: rows are a tuple, of which the first is not needed afterwards: results may take its memory. parameters:
        results are parameters and their moments, whose tables may stay divided; all others are whole on every device.
        Raises TooLarge where the executable's own analysis says that it would not fit into memory.
        """
        mode, count, devices = resolve(self.mode), _count(rows), len(jax.local_devices())
        function = self._traced(name, function)
        if mode == "loop":
            return self._one_by_one(name, function, shared, rows, used_up)
        if self.shard != "replicas":
            tables = self.shard == "tables"
            shared, rows = dividing.placed(shared), dividing.placed(rows, tables)
            places = partial(dividing.places, tables=tables and parameters)
            return self._run(name, count, over_replicas(function, mode), shared, rows, used_up, places=places)
        devices = min(devices, count)
        # the last row is repeated until every device has as many
        padded = jax.tree.map(lambda leaf: _padded(leaf, -count % devices), rows) if count % devices else rows
        results = self._run(name, count, over_replicas(function, mode, devices), shared, padded, used_up, devices)
        return jax.tree.map(lambda leaf: leaf[:count], results) if padded is not rows else results

    def shapes(self, name: str, function: Callable[..., Any], shared: Any, rows: Any, **_: Any) -> Any:
        """What a call would return, as shapes alone."""
        return jax.eval_shape(over_replicas(self._traced(name, function), "map"), shared, rows)

    def text(self, name: str, function: Callable[..., Any], shared: Any, rows: Any) -> str:
        """The lowered program of one row, equal for equal computations."""
        row = jax.eval_shape(lambda rows: jax.tree.map(lambda leaf: leaf[0], rows), rows)
        return self._traced(name, function).lower(shared, row).as_text()

    def _one_by_one(self, name: str, function: Callable[..., Any], shared: Any, rows: Any, used_up: bool) -> Any:
        """Every row by the program of one: as many at once as there are cores, and room for them."""
        run_one = partial(self._run, name, 1, alone(function), shared, used_up=used_up)
        first, *others = _one_each(rows)
        results = [run_one(first)]
        if others:
            from joblib import cpu_count

            need, held, most = self.needs[name], _bytes(results), self._most()
            # all results are held, and once more while they are stacked
            if need + 2 * held * (1 + len(others)) > most:
                fits = max(1, min(len(others), int((most - need) / (2 * held + 1))))
                raise TooLarge(fits, need + 2 * held * (1 + len(others)), device_memory().free)
            at_once = max(1, min(len(others), cpu_count(), int(most // max(need, 1.0))))
            with ThreadPoolExecutor(at_once) as threads:
                results += threads.map(lambda row: jax.block_until_ready(run_one(row)), others)
            self.needs[name] = at_once * need
        return _joined(results)

    def _traced(self, name: str, function: Callable[..., Any]) -> Any:
        return self.executables.setdefault(name, jax.jit(function))

    def _run(
        self,
        name: str,
        count: int,
        function: Any,
        shared: Any,
        rows: Any,
        used_up: bool,
        devices: int = 1,
        places: Callable[[Any], Any] | None = None,
    ) -> Any:
        taken, kept = (rows[:1], rows[1:]) if used_up else ((), rows)
        key = (name, count, jax.tree.structure(rows))  # in a sweep a stage may see fewer of the numbers
        if key not in self.executables:
            began = time.perf_counter()

            def program(shared: Any, taken: Any, kept: Any) -> Any:
                return function(shared, (*taken, *kept) if used_up else kept)

            where = places(jax.eval_shape(program, shared, taken, kept)) if places else None
            lowered = jax.jit(program, donate_argnums=1, out_shardings=where).lower(shared, taken, kept)
            executable = lowered.compile()
            self.clock["compile"] = self.clock.get("compile", 0.0) + time.perf_counter() - began
            memory = memory_of(executable)  # once for each: of a large program the analysis takes tens of milliseconds
            self._check_memory(memory, count, devices)
            self.executables[key] = executable, memory
        executable, memory = self.executables[key]
        self.needs[name] = memory.need
        return executable(shared, taken, kept)

    def _most(self) -> float:
        """Bytes that may be asked for at once."""
        free = device_memory().free.size
        return min(self.limit or SHARE * free, free)

    def _check_memory(self, memory: Memory, count: int, devices: int) -> None:
        (need, held), there, most = memory, device_memory(), self._most()
        if need > most and count > devices:
            raise TooLarge(max(devices, min(count - 1, int(count * most / need))), need, there.free)
        if need - (0.0 if there.whole else held) > there.free.size:
            raise TooLarge(0, need, there.free)


def alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """function(shared, row) of rows that are one."""

    def of_one(shared: Any, rows: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], function(shared, jax.tree.map(lambda leaf: leaf[0], rows)))

    return of_one


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
    """`auto`: vmap, but on CPUs, where vectorised scatters are slow, one after another.

    There every replica runs the program of one, which is compiled once for sweeps of any size; over several devices the
    replicas are divided as a batch.
    """
    if mode != "auto":
        return mode
    if jax.default_backend() != "cpu":
        return "vmap"
    return "loop" if jax.device_count() == 1 else "map"


def _count(rows: Any) -> int:
    return jax.tree.leaves(rows)[0].shape[0]


def _one_each(rows: Any) -> list[Any]:
    """The rows one by one, with their axis; views where arrays are the host's own."""
    if _count(rows) == 1:
        return [rows]
    host = jax.tree.map(lambda leaf: np.asarray(leaf) if _of_host(leaf) else leaf, rows)
    return [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], host) for i in range(_count(rows))]


def _joined(results: list[Any]) -> Any:
    if len(results) == 1:
        return results[0]
    return jax.tree.map(lambda *leaves: (np if _of_host(leaves[0]) else jnp).concatenate(leaves), *results)


def _bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _of_host(leaf: Any) -> bool:
    """Whether NumPy may look at an array in place; keys of random streams are JAX's own."""
    return jax.default_backend() == "cpu" and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _padded(leaf: jax.Array, more: int) -> jax.Array:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], more, axis=0)])

"""How replicas share a program, and programs their compilation: vmap, lax.map or a loop over one compiled function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.program import Hp

# Seconds by phase; `compile` is counted apart, `steps` is the part of training spent inside compiled programs.
Clock = dict[str, float]


class Replicas(NamedTuple):
    """What differs between the replicas of a program: keys [R] and hp {name: float32 [R]}."""

    keys: jax.Array
    hp: Hp


@dataclass(frozen=True)
class Compiler:
    """Runs functions over replicas: mode `auto`, `vmap`, `map` or `loop`; a clock; the programs compiled so far."""

    mode: str
    clock: Clock
    programs: dict[Any, Any]

    def __call__(self, name: str, function: Callable[..., Any], shared: Any, each: Any) -> Any:
        """function(shared, row) for every row of `each` (its leading axis), compiled once per name and shapes."""
        mode = resolve(self.mode)
        if mode != "loop":
            return self._run(name, over_replicas(function, mode), shared, each)
        rows = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], each) for i in range(_count(each))]
        results = [self._run(name, over_replicas(function, "map"), shared, row) for row in rows]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)

    def _run(self, name: str, function: Callable[..., Any], shared: Any, each: Any) -> Any:
        key = (name, _count(each))
        if key not in self.programs:
            began = time.perf_counter()
            self.programs[key] = jax.jit(function).lower(shared, each).compile()
            self.clock["compile"] = self.clock.get("compile", 0.0) + time.perf_counter() - began
        return self.programs[key](shared, each)


def over_replicas(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """function(shared, each) over the leading axis of `each`, by vmap or by lax.map; the results are stacked alike."""
    if mode == "vmap":
        return lambda shared, each: jax.vmap(function, in_axes=(None, 0))(shared, each)
    return lambda shared, each: jax.lax.map(lambda one: function(shared, one), each)


def resolve(mode: str) -> str:
    """`auto` is lax.map on CPUs, where vectorised scatters are slow, and vmap elsewhere."""
    if mode != "auto":
        return mode
    return "map" if jax.default_backend() == "cpu" else "vmap"


def _count(each: Any) -> int:
    return jax.tree.leaves(each)[0].shape[0]

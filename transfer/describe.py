"""What result.json says of a program beside the figures of its runs."""

from __future__ import annotations

import platform
import resource
from functools import cache
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from transfer.compiler import Clock
from transfer.config import Config
from transfer.data.examples import LoadedExamples
from transfer.data.world import Loaded
from transfer.program import Done, Fit, Program, Task
from transfer.registry import protocol, uses_source


def count_parameters(program: Program, done: Done) -> dict[str, int]:
    """Numbers that a replica keeps, and those among them that gradient steps have moved."""
    sizes = jax.tree.map(lambda leaf: int(np.prod(leaf.shape[1:])), done)
    trained = 0
    for stage in program.stages:
        if isinstance(stage, Fit):
            own = sizes[stage.name]
            frozen = stage.frozen(done[stage.name]) if stage.frozen else jax.tree.map(lambda _: False, own)
            trained += sum(jax.tree.leaves(jax.tree.map(lambda size, still: 0 if still else size, own, frozen)))
    return {"parameters": sum(jax.tree.leaves(sizes)), "trainable_parameters": trained}


def describe_program(
    config: Config, loaded: Loaded | LoadedExamples, task: Task, clock: Clock, replicas: int
) -> dict[str, Any]:
    """What result.json says of a whole program: names, protocol, counts, seconds, versions, device, data."""
    device = jax.devices()[0]
    return {
        "domain": config.domain.name,
        "task": config.task.name,
        "method": config.method.name,
        "model": config.model.name,
        "uses_source": uses_source(config, loaded.world),
        "split_seed": config.split.seed,
        "select": {"metric": task.select, "sign": task.sign, "on": "valid"},
        "protocol": {
            "split": config.split.model_dump(mode="json", exclude_none=True),
            **protocol(config),
            **({"core": core} if (core := getattr(config.domain, "core", None)) is not None else {}),
        },
        "world": loaded.summary,
        "fingerprint": loaded.fingerprint,
        "seconds": {name: round(value, 4) for name, value in clock.items()},
        "replicas": replicas,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": _versions(),
        "python": platform.python_version(),
        "device": f"{device.platform}:{device.device_kind}",
    }


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("transfer", "jax", "flax", "optax", "hydra-core", "polars")}

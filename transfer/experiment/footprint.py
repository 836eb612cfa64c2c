"""What memory runs would take, from their shapes alone: nothing is compiled or run."""

from __future__ import annotations

from typing import Any

import jax

from transfer.config.schema import Config
from transfer.experiment.build import build_program, build_task, load_world, replicas_of, with_batches
from transfer.experiment.checks import check_settings
from transfer.program import Fit
from transfer.training.compiler import Compiler
from transfer.training.loop import start
from transfer.training.stages import parameter_shapes


def footprint(config: Config) -> tuple[float, float]:
    """Bytes of the world, and of one run: all its parameters, and beside them those of its largest stage while it trains,
    with moments and the best so far. What a step takes comes on top. Raises TransferError where they do not fit."""
    config = check_settings(config)
    loaded = with_batches(config, load_world(config))
    world, train, run = loaded.world, config.train, Compiler("map", {}, {})
    program = build_program(config, world, build_task(config, world))
    replicas, shapes, states = replicas_of([config]), dict[str, Any](), [0.0]
    for stage in program.stages:
        if isinstance(stage, Fit):
            states.append(_bytes(start(stage, train, world, shapes, replicas, run.shapes)))
        shapes[stage.name] = parameter_shapes(stage, train, world, shapes, replicas, run)
    return _bytes(world), _bytes(shapes) + max(states)


def _bytes(tree: Any) -> float:
    return float(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")))

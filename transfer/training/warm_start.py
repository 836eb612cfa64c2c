"""Start from the exported parameters of another run, whole or by pattern: init_from=RUN_DIR 'init_only=body/*'.

What a stage would draw afresh is taken from there. A stage that starts from an earlier one (tuning, after pre-training)
goes on doing so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table

from transfer.config.schema import Config
from transfer.console import console
from transfer.errors import TransferError
from transfer.program import AnyWorld, Done, Fit, Params, Program
from transfer.storage import trees, weights

PARTS = ("body/", "head/")


class WarmStart(NamedTuple):
    """Where parameters come from: taken {ours: theirs}, drawn (ours that stay as drawn), left (theirs that nobody took)."""

    taken: dict[str, str]
    drawn: list[str]
    left: list[str]


def warm_started(
    config: Config, program: Program, world: AnyWorld, path: Path | None
) -> tuple[Program, AnyWorld, WarmStart | None]:
    """The program and its world with the parameters of the file that `init_from` names (None: it names none).

    Raises TransferError naming the first parameter that is not there or has another shape, with the closest match.
    """
    if path is None:
        return program, world, None
    stored = weights.read(path)
    start, given, stages = WarmStart({}, [], []), dict[str, dict[str, np.ndarray]](), []
    for stage in program.stages:
        shapes = _drawn(stage, world) if isinstance(stage, Fit) else {}
        wanted = [name for name in shapes if _is_wanted(name, config.init_only)]
        if isinstance(stage, Fit) and wanted:
            place = _stage_in(stored, stage.name, path)
            given[stage.name] = {name: _parameter(path, stored, place + name, shapes[name]) for name in wanted}
            stage = stage._replace(init=_taking(stage))
            start.taken.update({f"{stage.name}/{name}": place + name for name in wanted})
        start.drawn.extend(f"{stage.name}/{name}" for name in shapes if name not in wanted)
        stages.append(stage)
    if not given:
        names = ", ".join(start.drawn[:4]) + (", ..." if len(start.drawn) > 4 else "")
        asked = f"init_only={','.join(config.init_only)} names" if config.init_only else f"method={config.method.name} has"
        raise TransferError(
            f"init_from: {asked} no parameter that could be taken; what is drawn afresh is {names or 'none'}"
        )
    start.left.extend(sorted(set(stored) - set(start.taken.values())))
    world = replace(world, initial=jax.device_put(given))
    return program._replace(stages=tuple(stages)), world, start


def show_warm_start(start: WarmStart, config: Config) -> None:
    """Print what was taken, what is drawn afresh, and what the other run has beside it."""
    table = Table("parameter", "starts from", title=f"parameters of {config.init_from}", title_justify="left")
    for ours, theirs in start.taken.items():
        table.add_row(ours, theirs)
    for ours in start.drawn:
        table.add_row(ours, "drawn afresh")
    for theirs in start.left:
        table.add_row("-", f"{theirs} is not taken")
    console.print(table)


def _drawn(stage: Fit, world: AnyWorld) -> dict[str, tuple[int, ...]]:
    """Shapes of a stage's parameters by name, where it draws them and does not go on from an earlier stage."""
    try:
        params = jax.eval_shape(lambda world, key: stage.init(world, {}, key), world, jax.random.key(0))
    except KeyError:  # it reads an earlier stage
        return {}
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {trees.name_of(keys): leaf.shape for keys, leaf in leaves}


def _taking(stage: Fit) -> Callable[[AnyWorld, Done, jax.Array], Params]:
    """The stage's start with the parameters that the world brings."""

    def init(world: AnyWorld, done: Done, key: jax.Array) -> Params:
        given = world.initial[stage.name]
        drawn = stage.init(world, done, key)
        return jax.tree_util.tree_map_with_path(
            lambda keys, leaf: given.get(trees.name_of(keys), leaf).astype(leaf.dtype), drawn
        )

    return init


def _stage_in(stored: dict[str, Any], stage: str, path: Path) -> str:
    """How the names of the stored stage begin that stands for ours: that of the same name, `target`, or the only one."""
    if any(name.startswith(PARTS) for name in stored):
        return ""
    stages = sorted({name.split("/")[0] for name in stored if name.partition("/")[2].startswith(PARTS)})
    for same in (stage, "target", *(stages if len(stages) == 1 else ())):
        if same in stages:
            return f"{same}/"
    has = f"the stages {', '.join(stages)}, none of them {stage} or target" if stages else "no stage with a body or head"
    raise TransferError(f"{path}: it has {has}")


def _parameter(path: Path, stored: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in stored:
        raise TransferError(
            f"{path}: no parameter {name}; {weights.closest(name, stored)}; init_only=PATTERN takes some of them"
        )
    if stored[name].shape != shape:
        alike = [other for other in stored if stored[other].shape == shape]
        raise TransferError(
            f"{path}: {name} has shape {list(stored[name].shape)} and this run needs {list(shape)}; "
            f"{weights.closest(name, alike)}; init_only=PATTERN takes some of them"
        )
    return stored[name]


def _is_wanted(name: str, patterns: tuple[str, ...] | None) -> bool:
    return name.startswith(PARTS) if patterns is None else any(fnmatchcase(name, pattern) for pattern in patterns)

"""Names to objects: `method.name: emcdr` is the module transfer.methods.emcdr, or one that an installed package declares.

Other packages add theirs through the entry-point groups transfer.methods, transfer.models and transfer.tasks; nothing is
ever imported by a path that stands in a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

import numpy as np
from pydantic import ValidationError

from transfer.config import Config, Method, describe
from transfer.data.world import World
from transfer.errors import TransferError
from transfer.program import Fit, Needs, Program, Task

KINDS = ("methods", "models", "tasks")


def names(kind: str) -> list[str]:
    """All names of a kind, ours and those of installed packages, sorted."""
    package = importlib.import_module(f"transfer.{kind}")
    ours = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted(ours | {point.name for point in entry_points(group=f"transfer.{kind}")})


def find(kind: str, name: str) -> ModuleType:
    """The module behind a name. Raises TransferError naming what there is."""
    if name not in names(kind):
        raise TransferError(f"{kind.removesuffix('s')}.name={name}: unknown; choose from {', '.join(names(kind))}")
    for point in entry_points(group=f"transfer.{kind}"):
        if point.name == name:
            return point.load()
    return importlib.import_module(f"transfer.{kind}.{name}")


def build_task(config: Config, scale: tuple[float, float]) -> Task:
    return find("tasks", config.task.name).build(config.task, scale)


def build_program(config: Config, world: World, task: Task) -> Program:
    """The method's program on this world. Raises TransferError where task, world and method do not fit."""
    method = find("methods", config.method.name)
    check_needs(config, world, method.NEEDS)
    model = find("models", config.model.name).build(config.model)
    program = method.build(config, world, task, model)
    for stage in program.stages:
        if isinstance(stage, Fit) and not stage.heldout(world).n_events:
            raise TransferError(
                f"stage {stage.name} has no validation events to select by; raise split.valid or split.stop, or name "
                "validation users or events beside the test ones"
            )
    return program


def check_settings(config: Config) -> Config:
    """Validate the method's own settings by its `Settings` class; unknown keys and wrong types are TransferErrors."""
    settings = getattr(find("methods", config.method.name), "Settings", Method)
    given = config.method.model_dump()
    if unknown := sorted(set(given) - set(settings.model_fields)):
        raise TransferError(f"method.{unknown[0]}: no such key here; method={config.method.name} knows {_keys(settings)}")
    try:
        return config.model_copy(update={"method": settings.model_validate(given)})
    except ValidationError as error:
        raise TransferError(describe(error, "method.")) from None


def _keys(settings: type[Method]) -> str:
    return ", ".join(key for key in settings.model_fields if key != "name") or "no settings"


def check_needs(config: Config, world: World, needs: Needs) -> None:
    """Raise TransferError, one line with a remedy, where the method asks for what the task or the world lacks."""
    name, task = config.method.name, config.task.name
    if task not in needs.tasks:
        fitting = [other for other in names("methods") if task in find("methods", other).NEEDS.tasks]
        raise TransferError(f"method={name} does not do task={task}; methods that do: {', '.join(fitting)}")
    if needs.source and not world.sources:
        raise TransferError(f"method={name} needs a source domain; name one with domain.source=FILE or use target_only")
    if needs.shared_users and not _shared(world):
        raise TransferError(
            f"method={name} needs users with training events in both domains, and {config.domain.name} has none; "
            "use a method without that need (transfer --help lists them)"
        )
    if needs.texts and world.target.text is None:
        raise TransferError(f"method={name} needs vectors of the items' texts; write domain.text_dim=128")


def uses_source(config: Config, world: World) -> bool:
    """Whether this method sees a source here: it needs one, or is told to take both domains."""
    needs = find("methods", config.method.name).NEEDS
    return bool(world.sources) and (needs.source or config.method.model_dump().get("domains") == "both")


def _shared(world: World) -> bool:
    in_target = np.diff(np.asarray(world.target.train.starts)) > 0
    return any(bool((in_target & (np.diff(np.asarray(s.train.starts)) > 0)).any()) for s in world.sources)

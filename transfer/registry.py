"""Names to objects: `method.name: emcdr` is the module transfer.methods.emcdr, or one that an installed package declares.

Other packages add theirs through the entry-point groups transfer.methods, transfer.models and transfer.tasks; nothing is
ever imported by a path that stands in a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import jax
import numpy as np
from pydantic import ValidationError

from transfer import guard
from transfer.config import Config, Method, Model, describe
from transfer.data import load
from transfer.data.examples import ExamplesWorld, LoadedExamples
from transfer.data.world import Loaded, World, told
from transfer.errors import TransferError
from transfer.models import text_encoder, weights
from transfer.packaged import located
from transfer.program import AnyWorld, Classifier, Fit, Needs, Program, SequenceModel, Task
from transfer.progress import console

KINDS = ("methods", "models", "tasks")
INTERACTIONS = ("rating", "ranking")


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


def build_task(config: Config, world: AnyWorld) -> Task:
    return find("tasks", config.task.name).build(config.task, world)


def protocol(config: Config) -> dict[str, Any]:
    """How the task's figures come to be, for result.json."""
    return getattr(find("tasks", config.task.name), "protocol", lambda config: {})(config)


def build_program(config: Config, world: AnyWorld, task: Task) -> Program:
    """The method's program on this world. Raises TransferError where task, world and method do not fit."""
    method = find("methods", config.method.name)
    check_needs(config, world, method.NEEDS)
    model = check_model(config).build(config.model)
    if isinstance(model, Classifier):
        _check_inputs(config, world, model)
        if method.NEEDS.representation:
            _check_body(config, world, model)
    if isinstance(model, SequenceModel):
        _check_order(config, world, method.NEEDS)
    # without a source there is nothing to guard against
    if config.method.guard == "none" or not uses_source(config, world):
        program = method.build(config, world, task, model)
    else:
        guard.check(config, world, model)
        program = guard.guarded(config, world, task, model, method.build)
    if told(world) is not world and not (program.folds_in or isinstance(model, SequenceModel)):
        raise TransferError(
            f"split={config.split.name} asks for people who come after training, and method={config.method.name} does "
            "not know them; use model=sasrec, gru4rec or caser, or a method that reads histories, such as ease"
        )
    for stage in program.stages:
        if isinstance(stage, Fit) and not stage.heldout(world).n_events:
            raise TransferError(
                f"stage {stage.name} has no validation events to select by; raise split.valid or split.stop, or name "
                "validation users or events beside the test ones"
            )
    return program


def _check_order(config: Config, world: World, needs: Needs) -> None:
    """A next-item model needs events in the order of time and a method that can fit it."""
    if not needs.next_item:
        fitting = [other for other in names("methods") if find("methods", other).NEEDS.next_item]
        raise TransferError(
            f"method={config.method.name} does not fit model={config.model.name}; methods that do: {', '.join(fitting)}"
        )
    if world.target.sequence is None:
        raise TransferError(
            f"model={config.model.name} needs events in the order of time; write split=global_time or fold_in, with a "
            "domain of which the times are known"
        )
    read = [world.target, *(world.sources[:1] if needs.source else ())]
    if not all(side.sequence and side.sequence.learners.shape[0] for side in read):
        raise TransferError(
            f"model={config.model.name} has nothing to learn from: no user has training events on two days; lower "
            "split.valid, split.test and split.stop"
        )


def load_world(config: Config) -> Loaded | LoadedExamples:
    """The world of a configuration, with the network that encodes texts where it asks for one."""
    return load.load_world(config, text_encoder.encoded)


def with_weights(config: Config, loaded: Any) -> tuple[Any, str]:
    """The same with the weights that `model.weights` names in the world, and a fingerprint of them ("": there are none)."""
    module = find("models", config.model.name)
    if not isinstance(loaded, LoadedExamples) or not hasattr(module, "read_weights"):
        return loaded, ""
    if not config.model.weights:
        console.print(f"model={config.model.name} without model.weights=PATH: its weights are random, not pre-trained")
        return loaded, ""
    given = jax.tree.map(jax.numpy.asarray, module.read_weights(config.model, loaded.world))
    fingerprint = weights.fingerprint(located(config.model.weights))
    return replace(loaded, world=replace(loaded.world, given=given)), fingerprint


def _check_inputs(config: Config, world: ExamplesWorld, model: Classifier) -> None:
    """Tokens go with models of tokens; and weights that are asked for must have been read."""
    tokens, of_tokens = (jax.numpy.issubdtype(of, jax.numpy.integer) for of in (world.unlabelled.dtype, model.dtype))
    if of_tokens and not tokens:
        raise TransferError(
            f"model={config.model.name} reads tokens; write domain.features=tokens domain.tokenizer=FOLDER (or minilm)"
        )
    if world.given is None and config.model.model_dump().get("weights"):
        raise TransferError("model.weights is named and was not read: call registry.with_weights first")


def _check_body(config: Config, world: ExamplesWorld, model: Classifier) -> None:
    """A method that works on the representation would silently do nothing where there is none to learn."""
    body = jax.eval_shape(lambda key: model.body(key, world.unlabelled.shape[1:], world.given), jax.random.key(0))
    if not jax.tree.leaves(body):
        raise TransferError(
            f"method={config.method.name} works on a representation that learns, and model={config.model.name} has none; "
            "choose model=mlp or, for images, model=cnn or resnet50"
        )


def check_model(config: Config) -> ModuleType:
    """The model's module. Raises TransferError where it does not do the task: its TASKS, rating and ranking unless said."""
    module, task = find("models", config.model.name), config.task.name
    if task in ("classification", *INTERACTIONS) and task not in getattr(module, "TASKS", INTERACTIONS):
        modules = {name: find("models", name) for name in names("models")}
        models = {name: getattr(other, "TASKS", INTERACTIONS) for name, other in modules.items() if hasattr(other, "build")}
        fitting = [name for name, tasks in models.items() if task in tasks]
        raise TransferError(f"model={config.model.name} does not do task={task}; models that do: {', '.join(fitting)}")
    return module


def check_settings(config: Config) -> Config:
    """Validate the settings of method and model by their `Settings`; unknown keys and wrong types are TransferErrors.

    A task and a split must be for what the domain has: interactions, or labelled examples.
    """
    examples, domain = config.domain.kind == "examples", config.domain.name
    if examples != (config.task.name == "classification") and config.task.name in ("classification", *INTERACTIONS):
        has, fit = ("labelled examples", "classification") if examples else ("interactions", "rating or ranking")
        raise TransferError(
            f"task={config.task.name} does not go with domain={domain}, which has {has}: its task is {fit}; "
            + ("leave task= out" if examples else "domains for classification are digits_shift, amazon_reviews and others")
        )
    if examples != (config.split.name == "examples"):
        fit = "examples, transductive, few_labels, labelled" if examples else "cold_start, ratio, leave_one_out and others"
        raise TransferError(f"split={config.split.name} does not go with domain={domain}; splits that do: {fit}")
    refined = {"method": _refined("method", config.method, Method), "model": _refined("model", config.model, Model)}
    return config.model_copy(update=refined)


def _refined(kind: str, part: Method | Model, usual: type[Method | Model]) -> Method | Model:
    """A part of the configuration as its module's own `Settings`, or as what all have."""
    settings, given = getattr(find(f"{kind}s", part.name), "Settings", usual), part.model_dump()
    if unknown := sorted(set(given) - set(settings.model_fields)):
        raise TransferError(f"{kind}.{unknown[0]}: no such key here; {kind}={part.name} knows {_keys(settings)}")
    try:
        return settings.model_validate(given)
    except ValidationError as error:
        raise TransferError(describe(error, f"{kind}.")) from None


def _keys(settings: type[Method | Model]) -> str:
    own = [key for key in settings.model_fields if key not in ("name", "guard")]
    return ", ".join(own + ["guard"] * ("guard" in settings.model_fields)) or "no settings"


def check_needs(config: Config, world: AnyWorld, needs: Needs) -> None:
    """Raise TransferError, one line with a remedy, where the method asks for what the task or the world lacks."""
    name, task = config.method.name, config.task.name
    if task not in needs.tasks:
        fitting = [other for other in names("methods") if task in find("methods", other).NEEDS.tasks]
        raise TransferError(f"method={name} does not do task={task}; methods that do: {', '.join(fitting)}")
    if needs.source and not world.sources:
        raise TransferError(f"method={name} needs a source domain; name one with domain.source=FILE or use target_only")
    if isinstance(world, ExamplesWorld):
        _check_labels(config, world, needs)
    elif needs.shared_users and not _shared(world):
        raise TransferError(
            f"method={name} needs users with training events in both domains, and {config.domain.name} has none; "
            "use a method without that need (transfer --help lists them)"
        )
    if needs.texts and world.target.text is None:
        raise TransferError(f"method={name} needs vectors of the items' texts; write domain.text_dim=128")


def uses_source(config: Config, world: AnyWorld) -> bool:
    """Whether this method sees a source here: it needs one, or is told to take both domains."""
    needs = find("methods", config.method.name).NEEDS
    return bool(world.sources) and (needs.source or config.method.model_dump().get("domains") == "both")


def _check_labels(config: Config, world: ExamplesWorld, needs: Needs) -> None:
    name, domain = config.method.name, config.domain.name
    if needs.target_labels and world.labelled is None:
        raise TransferError(
            f"method={name} needs labelled target examples; set split.target_labels=5 (per class) or all, or use "
            f"{_fitting(lambda other: not other.target_labels)}"
        )
    if needs.same_labels and any(side.train.y.shape[1] != world.n_classes for side in world.sources):
        raise TransferError(
            f"method={name} needs the same classes in source and target, and those of {domain} differ; use "
            f"{_fitting(lambda other: not other.same_labels)}"
        )


def _fitting(accept: Callable[[Needs], bool]) -> str:
    """The classification methods whose needs are accepted, for an error's remedy."""
    all_needs = {other: find("methods", other).NEEDS for other in names("methods")}
    return ", ".join(other for other, needs in all_needs.items() if "classification" in needs.tasks and accept(needs))


def _shared(world: World) -> bool:
    in_target = np.diff(np.asarray(world.target.train.starts)) > 0
    return any(bool((in_target & (np.diff(np.asarray(s.train.starts)) > 0)).any()) for s in world.sources)

"""Whether task, split, model, method and world fit each other; every misfit is one line that says what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np
from pydantic import BaseModel, ValidationError

from transfer.config.declared import Range, default_of
from transfer.config.domains import ExampleDomains, LabelledDomains
from transfer.config.schema import Config, Method, Model, describe
from transfer.data.examples.modalities import settings_of
from transfer.data.examples.world import ExamplesWorld
from transfer.data.interactions.world import World
from transfer.errors import TransferError, no_such_key
from transfer.learning import fusion, guard
from transfer.program import AnyWorld, Classifier, Needs
from transfer.registry import find, names, outline

INTERACTIONS, EXAMPLES = ("rating", "ranking", "ctr"), ("classification", "regression")
AS = {"ctr": "ranking"}  # what does the one task does the other
MODELS_AS = {**AS, "regression": "classification"}  # the outputs of a model of examples are scores of classes or a number


def check_settings(config: Config) -> Config:
    """Validate the settings of method, model and reader by their `Settings`, and hp by their `HP`, filling in its defaults.

    Unknown keys, wrong types and values outside a range are TransferErrors. A task and a split must be for what the domain
    has: interactions, or labelled examples.
    """
    examples, domain = isinstance(config.domain, LabelledDomains), config.domain.name
    if examples != (config.task.name in EXAMPLES) and config.task.name in (*EXAMPLES, *INTERACTIONS):
        has, fit = (
            ("labelled examples", "classification or regression")
            if examples
            else ("interactions", "rating, ranking or ctr")
        )
        raise TransferError(
            f"task={config.task.name} does not go with domain={domain}, which has {has}: its task is {fit}; "
            + (
                "leave task= out"
                if examples
                else "domains of labelled examples are examples (your files), digits_shift and others"
            )
        )
    if config.task.name == "regression" and isinstance(config.domain, ExampleDomains):
        raise TransferError(
            f"task=regression predicts numbers, and domain={domain} has classes: leave task= out, or write domain=examples "
            "with files whose label is a number"
        )
    if examples != (config.split.name == "examples"):
        fit = "examples, transductive, few_labels, labelled" if examples else "cold_start, ratio, leave_one_out and others"
        raise TransferError(f"split={config.split.name} does not go with domain={domain}; splits that do: {fit}")
    if getattr(config.split, "candidates", None) and config.task.name != "ranking":
        raise TransferError(
            f"split.candidates has no effect on task={config.task.name}, which makes no lists; leave it out"
        )
    refined: dict[str, Any] = {
        "method": _refined("method", config.method.name, config.method, Method),
        "model": _refined("model", config.model.name, config.model, Model),
    }
    if isinstance(config.domain, ExampleDomains):
        refined["domain"] = _refined("domain", config.domain.reader, config.domain, ExampleDomains)
    if isinstance(domains := refined.get("domain", config.domain), LabelledDomains):
        for modality in domains.modalities:
            settings_of(domains, modality)
    return check_numbers(config).model_copy(update=refined)


def _refined(kind: str, name: str, part: BaseModel, usual: type[BaseModel]) -> BaseModel:
    """A part of the configuration as its module's own `Settings`, or as what all have."""
    settings, given = getattr(find(f"{kind}s", name), "Settings", usual), part.model_dump()
    if unknown := sorted(set(given) - set(settings.model_fields)):
        keys = [key for key in settings.model_fields if key != "name"]
        raise TransferError(no_such_key(unknown[0], keys, f"{kind}.", f"{kind}={name}"))
    try:
        return settings.model_validate(given)
    except ValidationError as error:
        raise TransferError(describe(error, f"{kind}.")) from None


def check_numbers(config: Config) -> Config:
    """The same with the defaults of those numbers under `hp` that are not given.

    Raises TransferError, one line, for a number that neither method nor model declares, and for one outside its range.
    """
    own = numbers(config)
    known = own | _further(config, own)
    for name, value in config.hp.items():
        if name not in known:
            owner = f"method={config.method.name}"
            for room, settings in (("method", config.method), ("model", config.model)):
                if name in settings.model_dump():
                    raise TransferError(f"hp.{name}: {owner} has no such number; it is a setting: write {room}.{name}")
            raise TransferError(no_such_key(name, known, "hp.", "it", f"{owner} has no such number"))
        if refused := known[name].refusal(value):
            raise TransferError(f"hp.{name}={value:g}: {refused}")
        if known[name].by_block and value and not _blocks(config):
            raise TransferError(
                f"hp.{name}={value:g} weighs the items' features, and domain={config.domain.name} has none; write "
                "domain.text_dim=128, or blocks as domain.features={genres: labels}"
            )
    missing = {name: default_of(number, config) for name, number in own.items() if name not in config.hp}
    return config.model_copy(update={"hp": {**config.hp, **missing}}) if missing else config


def numbers(config: Config) -> dict[str, Range]:
    """The numbers that a run reads: those that its model and its method declare."""
    modules = find("models", config.model.name), find("methods", config.method.name)
    return {name: number for module in modules for name, number in getattr(module, "HP", {}).items()}


def _further(config: Config, own: Mapping[str, Range]) -> dict[str, Range]:
    """Numbers that may be given and need not be: for each source, each block of features, each member of an ensemble, each
    modality that has a program of its own, and the guard's reference."""
    sources = getattr(config.domain, "source", ("one",))
    places = set(range(1, 1 + len(sources)))
    if any(getattr(source, "each", None) for source in sources):  # how many they are is known when their file is read
        places |= {int(end) for name in config.hp if (end := name.rpartition("_")[2]).isdecimal() and int(end)}
    further = {f"{name}_{i}": number for name, number in own.items() if number.by_source for i in sorted(places)}
    further |= {f"{name}_{block}": number for name, number in own.items() if number.by_block for block in _blocks(config)}
    members = range(1, 1 + len(config.method.model_dump().get("members", ())))
    further |= {f"{name}_{i}": number for name, number in own.items() if number.by_member for i in members}
    if config.method.fusion == fusion.LATE:
        of_examples = getattr(config.domain, "modalities", ())
        further |= {f"{name}_{modality}": number for name, number in own.items() for modality in of_examples}
    if config.method.guard != "none":
        reference = find("methods", guard.REFERENCE).HP
        further |= {f"{guard.ALONE}{name}": number for name, number in reference.items()}
    return further


def _blocks(config: Config) -> tuple[str, ...]:
    """The names of the blocks of item features."""
    return () if isinstance(config.domain, LabelledDomains) else tuple(config.domain.blocks)


def check_model(config: Config) -> ModuleType:
    """The model's module. Raises TransferError where it does not do the task: its TASKS, rating and ranking unless said."""
    module, task = find("models", config.model.name), MODELS_AS.get(config.task.name, config.task.name)
    if task in (*EXAMPLES, *INTERACTIONS) and task not in getattr(module, "TASKS", INTERACTIONS):
        modules = {name: find("models", name) for name in names("models")}
        models = {name: getattr(other, "TASKS", INTERACTIONS) for name, other in modules.items()}
        fitting = [name for name, tasks in models.items() if task in tasks]
        raise TransferError(
            f"model={config.model.name} does not do task={config.task.name}; models that do: {', '.join(fitting)}"
        )
    return module


def check_needs(config: Config, world: AnyWorld, needs: Needs) -> None:
    """Raise TransferError, one line with a remedy, where the method asks for what the task or the world lacks."""
    name, task = config.method.name, AS.get(config.task.name, config.task.name)
    if task not in needs.tasks:
        raise TransferError(
            f"method={name} does not do task={task}; methods that do: {_fitting(lambda n: task in n.tasks)}"
        )
    own, count = numbers(config), len(world.sources)
    for number in config.hp:
        of, _, place = number.rpartition("_")
        if number not in own and place.isdecimal() and of in own and own[of].by_source and int(place) > count:
            raise TransferError(f"hp.{number}: the world has {count} sources; write hp.{of}_1 to hp.{of}_{count}")
    if needs.source and not world.sources:
        raise TransferError(f"method={name} needs a source domain; name one with domain.source=FILE or use target_only")
    if isinstance(world, ExamplesWorld):
        _check_labels(config, world, needs)
    elif needs.shared_users and not _shared(world):
        shared = any(side.target_items is not None for side in world.sources)
        other = "only items: methods with method.domains=both, such as ease, learn from them" if shared else "none"
        raise TransferError(
            f"method={name} needs users with training events in both domains, and {config.domain.name} has {other}; "
            "use a method without that need (transfer --help lists them)"
        )
    if needs.texts and world.target.text is None:
        raise TransferError(f"method={name} needs vectors of the items' texts; write domain.text_dim=128")


def _check_labels(config: Config, world: ExamplesWorld, needs: Needs) -> None:
    name, domain = config.method.name, config.domain.name
    of_each = "in all" if world.numeric else "per class"
    if needs.target_labels and world.labelled is None:
        raise TransferError(
            f"method={name} needs labelled target examples; set split.target_labels=5 ({of_each}) or all, or use "
            f"{_fitting(lambda n: config.task.name in n.tasks and not n.target_labels)}"
        )
    if needs.same_labels and not all(side.same_labels for side in world.sources):
        raise TransferError(
            f"method={name} needs the same classes in source and target, and those of {domain} differ; use "
            f"{_fitting(lambda n: 'classification' in n.tasks and not n.same_labels)}"
        )


def _fitting(accept: Callable[[Needs], bool]) -> str:
    """The methods whose needs are accepted, for an error's remedy."""
    return ", ".join(name for name in names("methods") if accept(outline("methods", name).needs))


def _shared(world: World) -> bool:
    in_target = np.diff(np.asarray(world.target.train.starts)) > 0
    return any(bool((in_target & (np.diff(np.asarray(s.train.starts)) > 0)).any()) for s in world.sources)


def check_order(config: Config, world: World, needs: Needs) -> None:
    """A next-item model needs events in the order of time and a method that can fit it."""
    if not needs.next_item:
        fitting = _fitting(lambda needs: needs.next_item)
        raise TransferError(
            f"method={config.method.name} does not fit model={config.model.name}; methods that do: {fitting}"
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


def check_inputs(config: Config, world: ExamplesWorld, model: Classifier) -> None:
    """Tokens go with models of tokens; and weights that are asked for must have been read."""
    tokens, of_tokens = (jax.numpy.issubdtype(of, jax.numpy.integer) for of in (world.unlabelled.dtype, model.dtype))
    if of_tokens and not tokens:
        raise TransferError(
            f"model={config.model.name} reads tokens; write domain.features=tokens domain.tokenizer=FOLDER (or minilm)"
        )
    if world.pretrained is None and config.model.model_dump().get("weights"):
        raise TransferError("model.weights is named and was not read: call build.with_weights first")


def check_body(config: Config, world: ExamplesWorld, model: Classifier) -> None:
    """A method that works on the representation would silently do nothing where there is none to learn."""
    body = jax.eval_shape(lambda key: model.body(key, world.unlabelled.shape[1:], world.pretrained), jax.random.key(0))
    if not jax.tree.leaves(body):
        raise TransferError(
            f"method={config.method.name} works on a representation that learns, and model={config.model.name} has none; "
            "choose model=mlp or, for images, model=cnn or resnet50"
        )

"""A run's parts from its configuration: world, task, and the method's program on them, checked to fit each other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.domains import ExampleDomains
from transfer.config.schema import Config, Train
from transfer.console import console
from transfer.data import load
from transfer.data.examples.world import LoadedExamples
from transfer.data.interactions.world import Loaded, at_inference
from transfer.errors import TransferError
from transfer.experiment import checks
from transfer.experiment.members import members_of
from transfer.learning import chances, fusion, guard, permuted, sparsity, windows
from transfer.learning.nested import nested
from transfer.models import encoders
from transfer.program import AnyWorld, Classifier, Done, Fit, Given, Program, Replicas, SequenceModel, Task
from transfer.registry import find, outline
from transfer.storage import weights
from transfer.storage.packaged import located
from transfer.training.compiler import Compiler
from transfer.training.stages import parameter_shapes


def load_world(config: Config) -> Loaded | LoadedExamples:
    """The world of a configuration: its reader is looked up by name, and so is the network that encodes examples."""
    reader = find("domains", config.domain.reader) if isinstance(config.domain, ExampleDomains) else None
    return load.load_world(config, reader, encoders.encoded)


def with_weights(config: Config, loaded: Any) -> tuple[Any, str]:
    """The same with the weights that `model.weights` names in the world, and a fingerprint of them ("": there are none)."""
    module = find("models", config.model.name)
    if not isinstance(loaded, LoadedExamples) or not hasattr(module, "read_weights"):
        return loaded, ""
    if not config.model.weights:
        console.print(f"model={config.model.name} without model.weights=PATH: its weights are random, not pre-trained")
        return loaded, ""
    given = jax.device_put(module.read_weights(config.model, loaded.world))
    fingerprint = weights.fingerprint(located(config.model.weights))
    return replace(loaded, world=replace(loaded.world, pretrained=given)), fingerprint


def with_batches(config: Config, loaded: Any) -> Any:
    """The same, which knows what batches of its model take: so many steps of sequences, or entries of sparse inputs."""
    model, world, size = checks.check_model(config).build(config.model), loaded.world, config.train.batch_size
    if isinstance(model, SequenceModel):
        return replace(loaded, world=windows.with_packings(world, size, model))
    if isinstance(model, Classifier) and model.sparse and sparsity.multiplies_on_a_cpu():
        return replace(loaded, world=sparsity.with_sparse_rows(world, size))
    return loaded


def build_task(config: Config, world: AnyWorld) -> Task:
    """The task on worlds of these shapes."""
    return find("tasks", config.task.name).build(config.task, shapes_of(world))


def shapes_of(world: AnyWorld) -> AnyWorld:
    """The world with the shape of every array in its place."""
    return jax.eval_shape(lambda world: world, world)


def build_program(config: Config, world: AnyWorld, task: Task) -> Program:
    """The method's program on worlds of these shapes. Raises TransferError where task, world and method do not fit.

    A method sees shapes alone while it builds, so that a program may serve every world that has them.
    """
    method = find("methods", config.method.name)
    checks.check_needs(config, world, method.NEEDS)
    model = checks.check_model(config).build(config.model)
    if isinstance(model, Classifier):
        checks.check_inputs(config, world, model)
        if method.NEEDS.representation:
            checks.check_body(config, world, model)
    if isinstance(model, SequenceModel):
        checks.check_order(config, world, method.NEEDS)
    # without a source there is nothing to guard against
    guards = config.method.guard != "none" and uses_source(config, world)
    if guards:
        guard.check(config, world, model)
    if config.method.permute:
        permuted.check(config.method.permute, world)
    fusion.check(config, world)
    members = _members(config, world)
    build = fusion.fused(partial(method.build, members=members) if members else method.build)
    shapes = shapes_of(world)
    try:
        if not guards:
            program = build(config, shapes, task, model)
        else:
            reference = find("methods", guard.REFERENCE)
            program = guard.guarded(config, shapes, task, model, build, reference, fusion.fused(reference.build))
    except (TypeError, AttributeError) as error:
        error.add_note("The world of `build` has shapes alone: its values are there when functions of a stage are called.")
        raise
    if config.method.permute:
        program = nested(program, "", view=permuted.permuted(config.method.permute, config.method.permute_seed))
    if isinstance(model, SequenceModel):  # it reads what somebody chose before, whoever that is
        program = program._replace(folds_in=True)
    if config.task.name == "ctr" or config.method.rank_by == "revenue":
        chances.check(config, world)
        program = (
            chances.by_revenue(program) if config.task.name != "ctr" else chances.calibrated(program, config.task.sampled)
        )
    if at_inference(world) is not world and not program.folds_in:
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


def _members(config: Config, world: AnyWorld) -> list[Program]:
    """The programs of an ensemble's members, each with its own hp and names of its own for its stages."""

    def member(place: int, own: Config) -> Program:
        numbers = {name: jnp.float32(value) for name, value in own.hp.items()}
        program = build_program(own, world, build_task(own, world))
        return nested(program, f"member{place}_", numbers=lambda hp: numbers)

    return [member(place, own) for place, own in enumerate(members_of(config), 1)]


def uses_source(config: Config, world: AnyWorld) -> bool:
    """Whether this method sees a source here: it needs one, is told to take both domains, or has a member that does."""
    if members := members_of(config):
        return any(uses_source(member, world) for member in members)
    needs = outline("methods", config.method.name).needs
    return bool(world.sources) and (needs.source or config.method.model_dump().get("domains") == "both")


def protocol(config: Config) -> dict[str, Any]:
    """How the task's figures come to be, for result.json."""
    return getattr(find("tasks", config.task.name), "protocol", lambda config: {})(config)


def program_shapes(program: Program, train: Train, world: AnyWorld, replicas: Replicas, run: Compiler) -> Done:
    """Shapes of all parameters of a program with their leading replica axis, without computing them."""
    shapes: dict[str, Any] = {}
    for stage in program.stages:
        shapes[stage.name] = parameter_shapes(stage, train, world, shapes, replicas, run)
    return shapes


def replicas_of(configs: list[Config]) -> Replicas:
    """The traced part of configurations with one static part."""
    keys = jax.vmap(jax.random.key)(jnp.array([config.seed for config in configs], jnp.uint32))
    hp = {name: jnp.array([config.hp[name] for config in configs], jnp.float32) for name in configs[0].hp}
    return Replicas(keys, Given(hp, find("methods", configs[0].method.name).__name__))

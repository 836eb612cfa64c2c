"""Mixture of experts against negative transfer: method.guard mixes a method's scores with those of target_only.

gate:     s = w s_method + (1 - w) s_alone
weights:  s = Σ_i w_i s_(method with source i alone) + (1 - Σ_i w_i) s_alone

Ratings are mixed as they are, scores of a ranking after each user's are standardised over the items, classes by their
probabilities. From w = 0 the shares move towards one program at a time, by that of ten steps which validation prefers, and
stay where none is better (Frank-Wolfe with a line search; for a gate a grid): a source has to show its use. A share of
exactly 1 gives a program's own scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from transfer.config.declared import Numbers, default_of
from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.errors import TransferError
from transfer.learning.nested import Seen, nested
from transfer.learning.source_mixture import pooled
from transfer.learning.supervised import AnyModel
from transfer.program import AnyWorld, Done, Hp, Params, Program, Scores, SequenceModel, Solve, Task

STAGE, ALONE, REFERENCE = "guard", "alone_", "target_only"
STEPS = 10  # of a tenth each
TIE = 1e-4  # what log loss counts beside the metric of classes: few examples leave many shares equal

Build = Callable[[Config, AnyWorld, Task, AnyModel], Program]


def guarded(
    config: Config,
    world: AnyWorld,
    task: Task,
    model: AnyModel,
    build: Build,
    reference: ModuleType,
    build_reference: Build | None = None,
) -> Program:
    """The program of a method under `method.guard`: target_only is fitted in the same run, as stages `alone_...`.

    reference: the module of target_only; build_reference: how it is built, where that is not as the module does.

    Its numbers are hp.alone_learning_rate and hp.alone_l2 where they are given, else the defaults of target_only.
    """
    if config.method.guard == "gate":
        experts = [build(config, world, task, model)]
    else:
        experts = []
        for i in range(len(world.sources)):
            single = replace(world, sources=(world.sources[i],))
            experts.append(nested(build(config, single, task, model), f"source{i}_", view=_only(i)))
    kind = getattr(config.method, "classifier", "model")
    settings = reference.Settings(name=REFERENCE, classifier=kind, fusion=config.method.fusion)
    of_reference = config.model_copy(update={"method": settings})
    numbers = _reference_numbers(config, reference.HP)
    alone = nested((build_reference or reference.build)(of_reference, world, task, model), ALONE, numbers=numbers)
    programs = [alone, *experts]

    def scores(world: AnyWorld, done: Done, hp: Hp, weights: jax.Array) -> Scores:
        return mixture_scores([program.scores(world, done, hp) for program in programs], weights, config.task.name, world)

    def learn(world: AnyWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
        def validation(weights: jax.Array) -> jax.Array:
            metrics = task.evaluate(scores(world, done, hp, weights), world.valid)
            return task.sign * metrics[task.select] - TIE * metrics.get("log_loss", 0.0)

        return {"weights": choose_shares(validation, len(programs), rounds=1 if len(experts) == 1 else 2 * len(experts))}

    stages = [stage for program in programs for stage in program.stages]
    return Program(
        (*stages, Solve(STAGE, learn)),
        lambda world, done, hp: scores(world, done, hp, done[STAGE]["weights"]),
        features=experts[0].features,
        folds_in=all(program.folds_in for program in programs),
    )


def check(config: Config, world: AnyWorld, model: AnyModel) -> None:
    """Raise TransferError, one line with a remedy, where `method.guard` cannot fit."""
    asked = f"method.guard={config.method.guard}"
    if config.init_from:
        raise TransferError(f"{asked}: with init_from there is no model that knows the target alone; leave one of them out")
    if isinstance(world, ExamplesWorld) and world.labelled is None:
        raise TransferError(f"{asked} judges by labelled target examples; set split.target_labels=5 (per class) or all")
    if not world.valid.n_events:
        raise TransferError(f"{asked} judges by the validation part, and it is empty; raise split.valid")
    if config.method.guard == "weights" and len(world.sources) == 1:
        raise TransferError(f"{asked} weighs several sources against each other, and there is one; write method.guard=gate")
    if config.method.guard == "weights" and isinstance(model, SequenceModel):
        raise TransferError(f"{asked} takes sources apart, and next-item models read one of them; write method.guard=gate")


def choose_shares(validation: Callable[[jax.Array], jax.Array], count: int, rounds: int) -> jax.Array:
    """Shares float32 [count] that start at (1, 0, ...) and take `rounds` of the best steps towards one of the corners.

    validation(shares) -> scalar, higher is better; what is not a number is never chosen, and ties stay where they are.
    """
    corners, steps = jnp.eye(count), jnp.arange(1, STEPS + 1) / STEPS

    def frank_wolfe_round(_: Any, shares: jax.Array) -> jax.Array:
        part = steps[:, None, None]
        towards = (1 - part) * shares[None, None] + part * corners[None]  # [steps, corners, count]
        candidates = jnp.concatenate([shares[None], towards.reshape(-1, count)])
        values = jax.vmap(validation)(candidates)
        return candidates[jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))]

    return jax.lax.fori_loop(0, rounds, frank_wolfe_round, corners[0])


def mixture_scores(
    programs: list[Scores],
    weights: jax.Array,
    task: str,
    world: AnyWorld,
    of_reader: Callable[[jax.Array], jax.Array] | None = None,
) -> Scores:
    """Scores of programs in these shares [programs], or of each reader's own; those of one program, unchanged, where its
    share is 1.

    of_reader: users [B] -> shares [B, programs], in place of one for all; of a world of interactions."""

    def score(inputs: Any) -> jax.Array:
        scores = jnp.stack([program(inputs) for program in programs])
        if task == "classification":
            mixed = pooled(scores, weights, world.multi_label)
        else:
            comparable = scores if task in ("rating", "regression") else standardised(scores)
            if of_reader:
                return jnp.einsum("bp,pbi->bi", of_reader(inputs), comparable)
            mixed = jnp.einsum("p,pbi->bi", weights, comparable)
        return jnp.where(jnp.max(weights) == 1, scores[jnp.argmax(weights)], mixed)

    return score


def standardised(scores: jax.Array) -> jax.Array:
    """Each user's scores with mean 0 and standard deviation 1 over the items: [..., items]."""
    centred = scores - jnp.mean(scores, axis=-1, keepdims=True)
    return centred / (jnp.sqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True)) + 1e-9)


def _only(number: int) -> Callable[[AnyWorld], AnyWorld]:
    return lambda world: replace(world, sources=(world.sources[number],))


def _reference_numbers(config: Config, declared: Numbers) -> Callable[[Hp], Hp]:
    """hp of target_only: those called alone_ where given, else its defaults; a model's own, such as dropout, are shared."""

    def find(hp: Hp, name: str) -> Any:
        if ALONE + name in config.hp:
            return hp[ALONE + name]
        return jnp.float32(default_of(declared[name], config)) if name in declared else hp[name]

    return lambda hp: Seen(lambda name: find(hp, name), tuple(config.hp))

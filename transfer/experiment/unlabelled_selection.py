"""Unsupervised model selection: how good a run is without labels of the target, by `transfer.evaluate.selectors`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from transfer.config.schema import Config
from transfer.config.selection import ON_SOURCE, ORACLE
from transfer.data.examples.world import (
    MOST,
    Examples,
    ExamplesWorld,
    HiddenExamples,
    Inputs,
    Source,
    evenly_spaced,
    hidden,
)
from transfer.errors import TransferError
from transfer.evaluate import selectors
from transfer.evaluate.selectors import MIXED, Pairs
from transfer.experiment.build import build_program
from transfer.program import AnyWorld, Done, Program, Replicas, Task
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

Spaces = tuple[np.ndarray, np.ndarray]
STOP = 10  # one of so many pseudo-labelled examples is held out when a method is run backward


def check(config: Config, world: AnyWorld) -> None:
    """Raise TransferError, one line with a remedy, where `select=` cannot be computed."""
    by = config.select
    if by in ("valid", ORACLE):
        return
    if not is_unlabelled(world):
        raise TransferError(
            f"select={by} is for classes of a target without labels, and here it has some, or numbers are predicted: "
            "leave it out, or write select=oracle to choose by the test labels"
        )
    if by in ON_SOURCE and not all(side.stop.n_events for side in world.sources):
        raise TransferError(f"select={by} judges by what the sources hold out, and that is nothing; raise split.stop")
    if by == "mixval" and jnp.issubdtype(world.unlabelled.dtype, jnp.integer):
        raise TransferError("select=mixval mixes inputs, and tokens cannot be mixed; write select=snd, entropy or dev")


def is_unlabelled(world: AnyWorld) -> bool:
    """Whether a world is one of classes whose target is unlabelled, with sources that have the same classes."""
    if not isinstance(world, ExamplesWorld) or world.labelled is not None or not world.sources or world.numeric:
        return False
    return all(side.same_labels for side in world.sources)


def selection_scores(
    config: Config,
    program: Program,
    done: Done,
    job: Job,
    metrics: list[dict[str, dict[str, float]]],
    spaces: list[Spaces],
) -> list[dict[str, dict[str, float]]]:
    """What result.json says of every replica without labels of the target, and what `select=` asks for beside it."""
    facts = unsupervised_scores(program, job.world, done, job.replicas, job.run, spaces) or [{} for _ in metrics]
    reverse = reverse_validation(config, job.task, program, done, job) if config.select == "reverse" else None
    for i, (fact, means) in enumerate(zip(facts, metrics, strict=True)):
        more = {"source_valid": job.task.sign * means["valid"][job.task.select]} if fact and "valid" in means else {}
        more |= {"reverse": reverse[i]} if reverse else {}
        more |= {ORACLE: job.task.sign * means["test"][job.task.select]} if config.select == ORACLE else {}
        if more or fact:
            fact["selectors"] = {**fact.get("selectors", {}), **more}
    return facts


def unsupervised_scores(
    program: Program, world: AnyWorld, done: Done, replicas: Replicas, run: Compiler, spaces: list[Spaces]
) -> list[dict[str, dict[str, float]]]:
    """{"selectors": {name: score}, "shift": {"labels": ...}} of each replica; none where the target has labels.

    spaces: representations of source [s, d] and target [n, d] by replica, as `measure_distances` compares them. At most 500
    examples of the first source and of the target speak, evenly spaced, and all that the sources hold out.
    """
    if not is_unlabelled(world):
        return []
    outputs = jax.device_get(run("unlabelled", partial(_outputs, program), world, (done, replicas)))
    multi, held = world.multi_label, [side.stop for side in world.sources if side.stop.n_events]
    labels = [np.asarray(part.y, np.float64).reshape(-1, world.n_classes)[: part.n_events] for part in held]
    facts, ratio = list[dict[str, dict[str, float]]](), None
    for i in range(len(replicas.keys)):
        row: dict[str, Any] = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i], np.float64), outputs)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((row, spaces[i]))):  # it has diverged
            facts.append({})
            continue
        scores = {
            "entropy": selectors.entropy(row["target"], multi),
            "snd": selectors.soft_neighbourhood_density(row["target"], multi),
        }
        if "within" in row:
            within, between = (
                Pairs(row[kind]["logits"], row[kind]["partner"].astype(int)) for kind in ("within", "between")
            )
            scores["mixval"] = selectors.mixval(row["target"], within, between, multi)
        shift = {}
        if held:
            y, logits, z = (np.concatenate(parts) for parts in (labels, row["held"], row["z_held"]))
            if ratio is None or program.features is not None:  # raw inputs are the same in every replica
                with threadpool_limits(1):
                    ratio = selectors.density_ratio(*spaces[i], z)
            error = selectors.errors(logits, y, multi)
            scores["importance_weighted"] = selectors.importance_weighted(error, ratio)
            scores["dev"] = selectors.deep_embedded(error, ratio)
            shift = {} if multi else {"shift": {"labels": selectors.label_shift(logits, y, row["target"])}}
        facts.append({"selectors": scores, **shift})
    return facts


def _outputs(program: Program, world: ExamplesWorld, row: Any) -> dict[str, Any]:
    """Logits and representations of target, held-out and mixed examples by one replica."""
    done, (_, hp) = row
    scores = program.scores(world, done, hp)
    features = program.features(world, done, hp) if program.features else _raw
    x = evenly_spaced(world.unlabelled, MOST)
    n = x.shape[0]

    def target(x: jax.Array) -> Inputs:
        return Inputs(x, jnp.zeros(n, jnp.int32))

    logits = scores(target(x))
    outputs: dict[str, Any] = {"target": logits}
    if not jnp.issubdtype(x.dtype, jnp.integer):
        order = jnp.argsort(jnp.argmax(logits, axis=1), stable=True)  # neighbours are predicted alike
        for kind, shift in (("within", 1), ("between", n // 2)):
            partner = jnp.zeros(n, jnp.int32).at[order].set(jnp.roll(order, -shift).astype(jnp.int32))
            mixed = MIXED * x + (1 - MIXED) * x[partner]
            outputs[kind] = {"logits": scores(target(mixed)), "partner": partner}
    held = [side.stop for side in world.sources if side.stop.n_events]
    if held:
        outputs["held"] = [_rows(scores, part) for part in held]
        outputs["z_held"] = [_rows(features, part) for part in held]
    return outputs


def _raw(inputs: Inputs) -> jax.Array:
    """The inputs themselves as a representation: float32 [B, d]."""
    return inputs.x.reshape(inputs.x.shape[0], -1).astype(jnp.float32)


def _rows(function: Any, part: HiddenExamples) -> jax.Array:
    """function(Inputs [B]) -> [B, k] of all examples of a part, without its padding: [n, k]."""
    values = jax.lax.map(function, part.inputs)
    return values.reshape(-1, values.shape[-1])[: part.n_events]


def reverse_validation(config: Config, task: Task, program: Program, done: Done, job: Job) -> list[float]:
    """Reverse validation of every replica (Zhong et al. 2010; Ganin et al. 2016): how well the way back fits the source.

    The model labels the target's examples; the same method learns from them as its source, with the sources' inputs as its
    target, and is scored by task.select on what the sources hold out. It costs another training of every replica.
    """
    world, values, executables = job.world, list[float](), dict[Any, Any]()
    x = world.unlabelled

    def target_logits(world: ExamplesWorld, row: Any) -> jax.Array:
        done, (_, hp) = row
        return program.scores(world, done, hp)(Inputs(world.unlabelled, jnp.zeros(x.shape[0], jnp.int32)))

    logits = np.asarray(job.run("unlabelled/labels", target_logits, world, (done, job.replicas)))
    for i, of_replica in enumerate(logits):
        turned = _turned(world, selectors.decided(of_replica, world.multi_label).astype(np.float32))
        replica = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], job.replicas)
        run = Compiler(config.train.replicas, {}, executables, shard=job.run.shard)
        backward = build_program(config, turned, task)
        ids, seeds = job.ids[i : i + 1], job.seeds[i : i + 1]
        turned_job = Job(task, turned, job.fingerprint, replica, ids, seeds, job.train, run, alone=False)
        learnt, _ = run_stages(backward, turned_job)

        def metric(world: ExamplesWorld, row: Any, backward: Program = backward) -> jax.Array:
            done, (_, hp) = row
            return task.evaluate(backward.scores(world, done, hp), world.test)[task.select]

        values.append(task.sign * float(np.asarray(run("backward", metric, turned, (learnt, replica)))[0]))
    return values


def _turned(world: ExamplesWorld, pseudo: np.ndarray) -> ExamplesWorld:
    """The world the other way round: the target with labels [n, classes] is the source, the sources are the target."""
    x, multi = np.asarray(world.unlabelled), world.multi_label
    stop = np.arange(len(x)) % STOP == 0
    kept, held = Examples(x[~stop], pseudo[~stop], multi), hidden([(1, Examples(x[stop], pseudo[stop], multi))], multi)
    parts = [part for side in world.sources if (part := side.stop).n_events]
    test = Examples(
        np.concatenate([np.asarray(p.inputs.x).reshape(-1, *x.shape[1:])[: p.n_events] for p in parts]),
        np.concatenate([np.asarray(p.y).reshape(-1, world.n_classes)[: p.n_events] for p in parts]),  # type: ignore[arg-type]
        multi,
    )
    turned = replace(
        world,
        sources=(Source(kept, held),),
        unlabelled=jnp.concatenate([side.train.x for side in world.sources]),
        sparse_unlabelled=None,
        valid=held,
        test=hidden([(0, test)], multi),
        tested=jnp.arange(len(test.x), dtype=jnp.int32),
    )
    return jax.device_put(turned)

"""Fusion of modalities, which stand side by side in x as blocks of equal variance (domain.modalities).

early: x as it is, for one program.
late:  a program for each modality, logits = Σ_m w_m logits_m + w_0 log f: their log-probabilities added, times weights.
       f are the classes' frequencies, which every program has learnt once and Bayes' rule counts once: w_0 = 1 - M where
       the modalities are independent given the class, and all w_m are 1.
NAME:  one modality alone.

w = argmin_{w_m ≥ 0, w_0} Σ_valid log loss(logits) + PRIOR/2 Σ_m (w_m s_m)², s_m the spread of logits_m over classes:
convex; a modality that says nothing of the classes has 0, or nearly. They are fitted on validation, one number for each
modality and one more, so that its figures flatter late fusion a little.

Paper: Genest, Zidek (1986), logarithmic opinion pools; Heskes (1998), their weights.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld, Inputs
from transfer.errors import TransferError
from transfer.learning.nested import Seen, nested
from transfer.learning.supervised import AnyModel
from transfer.program import AnyWorld, Done, Hp, Params, Program, Scores, Solve, Task

STAGE, EARLY, LATE = "fusion", "early", "late"
PRIOR = 1.0  # of a weight in units of its logits' spread, beside the sum of the examples' losses
SWEEPS = 500  # over the weights, each of which takes the step that a bound of the curvature allows

Build = Callable[[Config, AnyWorld, Task, AnyModel], Program]


def check(config: Config, world: AnyWorld) -> None:
    """Raise TransferError, one line with a remedy, where `method.fusion` cannot fit."""
    asked, names = f"method.fusion={config.method.fusion}", modalities(world)
    if config.method.fusion == EARLY:
        return
    if not names:
        raise TransferError(
            f"{asked}: the examples have one view; name several as domain.modalities={{text: description, cover: cover}}"
        )
    if config.method.fusion not in (LATE, *names):
        raise TransferError(f"{asked}: write early, late, or one of the modalities: {', '.join(names)}")
    if config.method.fusion == LATE and world.numeric:
        raise TransferError(f"{asked} weighs the logits of classes; for task=regression write method.fusion=early")
    if config.method.fusion == LATE and len(names) < 2:
        raise TransferError(f"{asked} weighs several modalities, and there is one; write method.fusion=early")
    if config.method.fusion == LATE and not world.valid.n_events:
        raise TransferError(f"{asked} weighs by the validation part, and it is empty; raise split.valid")
    if config.method.fusion == LATE and config.init_from:
        raise TransferError(f"{asked} has a network for each modality, and init_from one; leave one of them out")


def modalities(world: AnyWorld) -> tuple[str, ...]:
    """Their names; none where x is one, and of users and items."""
    return tuple(name for name, _ in getattr(world, "modalities", ()))


def fused(build: Build) -> Build:
    """`build` of a method for a world of modalities, as method.fusion says.

    In late fusion hp.NAME_MODALITY is a modality's own number in place of hp.NAME.
    """

    def alone(config: Config, world: AnyWorld, task: Task, model: AnyModel, name: str, prefix: str) -> Program:
        """The program of one modality, for the inputs of all."""
        view, columns = only(name), columns_of(world, name)
        program = nested(
            build(config, jax.eval_shape(view, world), task, model), prefix, view=view, numbers=own_numbers(config, name)
        )

        def cut(function: Callable[[AnyWorld, Done, Hp], Scores]) -> Callable[[AnyWorld, Done, Hp], Scores]:
            return lambda world, done, hp: (
                lambda inputs: function(world, done, hp)(inputs._replace(x=inputs.x[..., columns]))
            )

        return program._replace(scores=cut(program.scores), features=program.features and cut(program.features))

    def late(config: Config, world: AnyWorld, task: Task, model: AnyModel) -> Program:
        if config.method.fusion == EARLY:
            return build(config, world, task, model)
        if config.method.fusion != LATE:
            return alone(config, world, task, model, config.method.fusion, "")
        experts = [alone(config, world, task, model, name, f"{name}_") for name in modalities(world)]

        def logits(world: AnyWorld, done: Done, hp: Hp) -> Scores:
            scores = [expert.scores(world, done, hp) for expert in experts]
            return lambda inputs: jnp.stack([score(inputs) for score in scores])

        def learn(world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
            hidden, of_inputs = world.valid, logits(world, done, hp)

            def of_chunk(inputs: Inputs) -> jax.Array:
                return jnp.moveaxis(of_inputs(inputs), 0, 1)  # [B, modalities, classes]

            found = jax.lax.map(of_chunk, hidden.inputs)
            flat = found.reshape(-1, *found.shape[2:])
            return weigh(flat, hidden.y.reshape(len(flat), -1), hidden.weight.ravel(), hidden.multi_label)

        return Program(
            (*(stage for expert in experts for stage in expert.stages), Solve(STAGE, learn)),
            lambda world, done, hp: lambda inputs: pooled(done[STAGE], logits(world, done, hp)(inputs)),
        )

    return late


def pooled(params: Params, logits: jax.Array) -> jax.Array:
    """Σ_m w_m logits_m + w_0 log f: [M, B, classes] -> [B, classes]."""
    return jnp.tensordot(params["weights"], logits, axes=1) + params["of_classes"][None, :]


def weigh(logits: jax.Array, y: jax.Array, weight: jax.Array, multi_label: bool) -> Params:
    """weights [M] of logits [n, M, classes] for labels y [n, classes] of examples with `weight` [n]; of_classes [classes]:
    w_0 log f (several labels: of the odds); shares [M]: how much of the sum's spread is a modality's.

    Coordinate descent in v = w s with Böhning's (1992) bound of the curvature, |z|²/2 (yes or no: |z|²/4): no step goes up.
    """
    counted, classes, count = jnp.sum(weight), logits.shape[-1], logits.shape[1]
    often = (weight @ y + 1) / (counted + (2 if multi_label else classes))
    base = jnp.log(often) - (jnp.log1p(-often) if multi_label else 0.0)
    terms = jnp.concatenate([logits, jnp.broadcast_to(base, (len(logits), 1, classes))], axis=1)
    centred = terms if multi_label else terms - jnp.mean(terms, axis=-1, keepdims=True)
    spread = jnp.sqrt(jnp.einsum("n,nmc->m", weight, jnp.square(centred)) / (counted * classes))
    z = centred / jnp.maximum(spread, 1e-6)[None, :, None]
    bound = counted * classes * (0.25 if multi_label else 0.5) + PRIOR
    lowest = jnp.zeros(count + 1).at[count].set(-jnp.inf)

    def descend(i: jax.Array, v: jax.Array) -> jax.Array:
        m = i % v.shape[0]
        sums = jnp.einsum("m,nmc->nc", v, z)
        p = jax.nn.sigmoid(sums) if multi_label else jax.nn.softmax(sums, axis=-1)
        slope = jnp.einsum("n,nc,nc->", weight, p - y, z[:, m]) + PRIOR * v[m]
        return v.at[m].set(jnp.maximum(v[m] - slope / bound, lowest[m]))

    v = jax.lax.fori_loop(0, SWEEPS * (count + 1), descend, jnp.ones(count + 1).at[count].set(0.0))
    w = v / jnp.maximum(spread, 1e-6)
    return {
        "weights": w[:count],
        "of_classes": w[count] * base,
        "shares": v[:count] / jnp.maximum(jnp.sum(v[:count]), 1e-12),
    }


def only(name: str) -> Callable[[ExamplesWorld], ExamplesWorld]:
    """The world as one modality has it."""

    def view(world: ExamplesWorld) -> ExamplesWorld:
        columns = columns_of(world, name)
        return world.with_inputs(lambda x, part: x[..., columns])

    return view


def columns_of(world: ExamplesWorld, name: str) -> slice:
    """The columns of x that are a modality's."""
    names = modalities(world)
    widths = [width for _, width in world.modalities]
    start = sum(widths[: names.index(name)])
    return slice(start, start + widths[names.index(name)])


def own_numbers(config: Config, name: str) -> Callable[[Hp], Hp]:
    """hp as a modality sees them: hp.l2_NAME in place of hp.l2, where it is given."""

    def find(hp: Hp, key: str) -> jax.Array:
        return hp[own] if (own := f"{key}_{name}") in config.hp else hp[key]

    return lambda hp: Seen(lambda key: find(hp, key), tuple(config.hp))

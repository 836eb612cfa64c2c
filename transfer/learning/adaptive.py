"""Weights of sources that move while a method trains, by the harm that each source is measured to do.

λ_d = min(1, exp(-h_d / T)),  h_d ← (h_d + m_0 - m_d) / 2 at the end of every block, h_d = 0 before the first. m_d is the
validation metric, higher is better, of a replica that learns from the target and source d, m_0 that of one that learns from
the target alone; both train beside the model, from the same start, on the same batches and as strongly as the method's
numbers say. What harms is on its way to 0 and comes back where it stops to harm; where every source helps, nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.config.schema import Config, Method
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.program import Done, Fit, Hp, Params, Range, Rate, Scores, Task

TEMPERATURE = Range(0.005, low=0, above=True)  # T, in units of the metric that selects
BESIDE = ("replicas", "harm")  # the parameters that the model itself has not


class Adapts(Method):
    """Settings of a method whose sources may have weights that move."""

    adaptive: bool = False


class Joint(NamedTuple):
    """A fit of the target and several sources, of which each counts as much as a weight says, or is not there.

    loss(params, done, batch, weights, hp, key, progress) and scores(world, done, weights, hp): those of the sources that
    params, batch and world have, with their weights λ float32 [sources], 1 is all that a source can count;
    params_of(params, which) and batch_of(batch, which): the same without the other sources.
    """

    fit: Fit
    loss: Callable[..., jax.Array]
    scores: Callable[[World, Done, jax.Array, Hp], Scores]
    params_of: Callable[[Params, Sequence[int]], Params]
    batch_of: Callable[[Any, Sequence[int]], Any]


def check(config: Config) -> None:
    """Raises TransferError for numbers that have no effect on weights that move, or on those that do not."""
    if not config.method.adaptive and config.hp["temperature"] != TEMPERATURE.default:
        raise TransferError("hp.temperature has no effect where no weight of a source moves; write method.adaptive=true")
    if config.method.adaptive and (given := [name for name in config.hp if name.startswith("source_weight_")]):
        raise TransferError(f"hp.{given[0]} has no effect where weights move: leave out that, or method.adaptive")


def adaptive(joint: Joint, task: Task, count: int) -> Fit:
    """The fit with moving weights of `count` sources."""
    fit, name = joint.fit, joint.fit.name
    kept = [(), *((d,) for d in range(count))]  # the sources of each replica

    def init(world: World, done: Done, key: jax.Array) -> Params:
        model = fit.init(world, done, key)
        return {**model, "replicas": [joint.params_of(model, which) for which in kept], "harm": jnp.zeros(count)}

    def loss(params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        given = hp, key, progress
        weights = jax.lax.stop_gradient(weights_of(params["harm"], hp["temperature"]))
        beside = [
            joint.loss(replica, done, joint.batch_of(batch, which), jnp.ones(len(which)), *given)
            for replica, which in zip(params["replicas"], kept, strict=True)
        ]
        return joint.loss(params, done, batch, weights, *given) + sum(beside, jnp.float32(0.0))

    def rates(params: Params) -> Any:
        """What no gradient moves does not decay either."""
        of = fit.rates or (lambda part: jax.tree.map(lambda _: Rate(), part))
        model = {key: part for key, part in params.items() if key not in BESIDE}
        return {**of(model), "replicas": [of(replica) for replica in params["replicas"]], "harm": Rate(0.0)}

    def revised(world: World, done: Done, hp: Hp) -> Params:
        params = done[name]

        def metric(part: Params, which: Sequence[int]) -> jax.Array:
            some = replace(world, sources=tuple(world.sources[d] for d in which))
            scores = joint.scores(some, {**done, name: part}, jnp.ones(len(which)), hp)
            return task.sign * task.evaluate(scores, fit.heldout(world))[task.select]

        alone, *beside = [metric(replica, which) for replica, which in zip(params["replicas"], kept, strict=True)]
        return {**params, "harm": (params["harm"] + alone - jnp.stack(beside)) / 2}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        return joint.scores(world, done, weights_of(done[name]["harm"], hp["temperature"]), hp)

    def watch(world: World, done: Done, hp: Hp) -> dict[str, jax.Array]:
        weights = weights_of(done[name]["harm"], hp["temperature"])
        own = fit.watch(world, done, hp) if fit.watch else {}
        return {**own, **{f"source_weight_{d + 1}": weights[d] for d in range(count)}}

    return fit._replace(init=init, loss=loss, rates=rates, scores=scores, revised=revised, watch=watch)


def weights_of(harm: jax.Array, temperature: jax.Array) -> jax.Array:
    """λ_d of the harm h_d of every source, float32 [sources]."""
    return jnp.exp(-jnp.maximum(harm, 0.0) / temperature)


def shares(weights: jax.Array) -> jax.Array:
    """λ_d / max(1, Σ λ), float32 [sources]: what is left of the others goes to those that help."""
    return weights / jnp.maximum(jnp.sum(weights), 1.0)

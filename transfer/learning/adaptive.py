"""Weights of sources that move while a method trains, by the harm that each source is measured to do.

λ_d = min(1, exp(-h_d / T)),  h_d ← (h_d + m_0 - m_d) / 2 at the end of every block, h_d = 0 before the first. m_d is the
validation metric, higher is better, of a replica that learns from the target and source d, m_0 that of one that learns from
the target alone; both train beside the model, from the same start, on the same batches and as strongly as hp.source_weight
says. What harms is on its way to 0 and comes back where it stops to harm; where every source helps, nothing changes: the
model's loss is L_target + hp.source_weight · Σ_d λ_d L_d / max(1, Σ_d λ_d).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from transfer.data.interactions.world import World
from transfer.program import Done, Fit, Hp, Params, Range, Task

TEMPERATURE = Range(0.005, low=0, above=True)  # T, in units of the metric that selects


def adaptive(fit: Fit, losses: Callable[..., list[jax.Array]], task: Task, count: int) -> Fit:
    """The same fit with moving weights of `count` sources. fit: of {"body", "head", "sources": [heads]} on batches [target,
    *sources]; losses(params, done, batches, hp, key, progress) -> [L_target, *L_source], of the heads that are there."""

    def init(world: World, done: Done, key: jax.Array) -> Params:
        joint = fit.init(world, done, key)
        alone = {**joint, "sources": []}
        beside = [{**joint, "sources": [head]} for head in joint["sources"]]
        return {**joint, "replicas": [alone, *beside], "harm": jnp.zeros(count)}

    def loss(params: Params, done: Done, batches: list, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        given, (target, *sources) = (hp, key, progress), batches
        weights = jax.lax.stop_gradient(weights_of(params["harm"], hp["temperature"]))
        own, *others = losses(params, done, batches, *given)
        (alone,) = losses(params["replicas"][0], done, [target], *given)
        beside = [
            losses(replica, done, [target, source], *given)
            for replica, source in zip(params["replicas"][1:], sources, strict=True)
        ]
        joint = own + hp["source_weight"] * (weights @ jnp.stack(others))
        return joint + alone + sum(of_target + hp["source_weight"] * of_source for of_target, of_source in beside)

    def revised(world: World, done: Done, hp: Hp) -> Params:
        params = done[fit.name]

        def metric(part: Params) -> jax.Array:
            scores = fit.scores(world, {**done, fit.name: part}, hp)
            return task.sign * task.evaluate(scores, fit.heldout(world))[task.select]

        alone, *beside = [metric(replica) for replica in params["replicas"]]
        return {**params, "harm": (params["harm"] + alone - jnp.stack(beside)) / 2}

    def watch(world: World, done: Done, hp: Hp) -> dict[str, jax.Array]:
        weights = weights_of(done[fit.name]["harm"], hp["temperature"])
        return {f"source_weight_{d + 1}": weights[d] for d in range(count)}

    return fit._replace(init=init, loss=loss, revised=revised, watch=watch)


def weights_of(harm: jax.Array, temperature: jax.Array) -> jax.Array:
    """λ_d / max(1, Σ λ) of the harm h_d of every source, float32 [sources]."""
    weights = jnp.exp(-jnp.maximum(harm, 0.0) / temperature)
    return weights / jnp.maximum(jnp.sum(weights), 1.0)

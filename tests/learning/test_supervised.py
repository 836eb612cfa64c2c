"""A learner's losses by event, its prior and their sum, which is the loss of its stage."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import tiny

from transfer.experiment.build import build_task, load_world
from transfer.experiment.checks import check_model, check_settings
from transfer.learning import strategies
from transfer.learning.supervised import data_of, learner_of, supervised


def parts(*words: str) -> tuple[Any, Any, Any, dict[str, jax.Array]]:
    """World, task, model and hp of a small run."""
    config = check_settings(tiny("method=finetune", "hp.l2=0.5", "hp.l2_sp=2", *words))
    world = load_world(config).world
    hp = {name: jnp.float32(value) for name, value in config.hp.items()}
    return world, build_task(config, world), check_model(config).build(config.model), hp


def test_losses_are_one_for_each_event_and_the_stage_adds_the_priors() -> None:
    world, task, model, hp = parts("task=rating")
    key, data = jax.random.key(1), data_of(model, "target")
    learner, pull = learner_of(task, model, 16, data), partial(strategies.towards, "before")
    stage = supervised("target", task, model, 16, data=data, heldout=lambda world: world.valid, penalty=pull)
    params, batch = jax.jit(lambda world: (stage.init(world, {}, key), stage.batch(world, {}, key)))(world)
    before = jax.tree.map(lambda leaf: leaf + 0.1, params)

    losses, prior = learner.losses(params, batch, hp, key)
    users, items = (jax.tree.map(np.asarray, params[part]) for part in ("body", "head"))
    (u, i), weights = (
        (np.asarray(batch.users), np.asarray(batch.items)[:, 0]),
        (batch.user_weights, batch.item_weights[:, 0]),
    )
    product = np.sum(users["factors"][u] * items["factors"][i], axis=1)
    outputs = items["mean"] + users["bias"][u] + items["bias"][i] + product
    np.testing.assert_allclose(losses, np.square(outputs - np.asarray(batch.ratings)), rtol=1e-5)
    norms = [np.square(t["bias"][at]) + np.square(t["factors"][at]).sum(axis=1) for t, at in ((users, u), (items, i))]
    by_hand = 0.5 * np.mean([np.asarray(w) * norm for w, norm in zip(weights, norms, strict=True)], axis=1).sum()
    assert float(prior) == pytest.approx(by_hand, rel=1e-5)

    squared = sum(0.01 * leaf.size for leaf in jax.tree.leaves(params["body"]))
    wanted = np.mean(losses) + by_hand + 2 / 2 * squared
    loss = stage.loss(params, {"before": before}, batch, hp, key, jnp.float32(0))
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


def test_events_that_are_not_predicted_do_not_count_in_the_mean() -> None:
    world, task, model, hp = parts("task=ranking", "task.k=[10]", "split=global_time", "model=caser", "model.length=4")
    key = jax.random.key(2)
    learner = learner_of(task, model, 8, data_of(model, "target"))

    @jax.jit
    def run(world: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        body = learner.body(world, key)
        params, batch = {"body": body, "head": learner.head(world, body, key)}, learner.batch(world, key)
        losses, _ = learner.losses(params, batch, hp, key)
        return losses, batch.counts.ravel(), learner.mean(losses, batch)

    losses, counts, mean = map(np.asarray, run(world))
    assert losses.shape == counts.shape
    assert 0 < counts.sum() < len(counts)
    assert float(mean) == pytest.approx(float(losses[counts > 0].mean()), rel=1e-5)

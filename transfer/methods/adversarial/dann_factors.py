"""Factors that do not tell the domains: cmf with a discriminator D of users or items, min L_cmf - w r · min_D loss_D.

method.of=users: D sees the features of users drawn by events of a source against those drawn by the target's, so that who
has no target history comes to look like those who have one. items: it sees the rows of items in either head, so that what
was learnt of users from one domain's items can be read with the other's. loss_D, w and r are those of dann,
with a D for each source; w = 0 is cmf. With method.adaptive=true each source has a weight of its own in both terms, moved
while it trains by the harm that it is measured to do (`learning.adaptive`).

Paper: Ganin et al. (2016), DANN; on factors as in Wang, Niepert, Li (2019), RecSys-DAN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.learning import discriminator
from transfer.learning import game as games
from transfer.learning.adaptive import TEMPERATURE, Adapts, adaptive, check, shares
from transfer.learning.discriminator import discriminated
from transfer.learning.game import View, ramped, terms, with_game
from transfer.methods.model_based import cmf
from transfer.program import Batch, Done, Hp, Model, Needs, Params, Program, Range, Task

NEEDS = Needs(source=True, shared_users=True)
HP = {**cmf.JOINT_HP, **games.HP, **discriminator.HP, "weight": Range(0.3, low=0), "temperature": TEMPERATURE}


class Settings(discriminator.Discriminator, Adapts):
    of: Literal["users", "items"] = "users"  # whose representations must not tell the domains


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    check(config)
    if config.method.adaptive and config.method.steps > 1:
        raise TransferError(
            "method.steps with method.adaptive=true: the discriminators of the replicas take one; leave one out"
        )

    def view(body: Params, head: Params, batch: Batch) -> View:
        if config.method.of == "users":
            z = model.features(body, batch.users)
        else:
            z = [leaf[batch.items[:, 0]] for leaf in jax.tree.leaves(head) if leaf.ndim]
        rows = [leaf.reshape(batch.users.shape[0], -1) for leaf in jax.tree.leaves(z)]
        return View(batch.users, jnp.concatenate(rows, axis=1), jnp.zeros((rows[0].shape[0], 0)), None)

    def views(params: Params, batches: list[Any]) -> list[tuple[View, View]]:
        there = view(params["body"], params["head"], batches[0])
        sources = zip(params["sources"], batches[1:], strict=True)
        return [(view(params["body"], head, batch), there) for head, batch in sources]

    game, joint = discriminated(config.method), cmf.joint(config, task, model)
    fit = with_game(joint.fit, game, views)

    def loss(
        params: Params, done: Done, batches: Any, weights: jax.Array, hp: Hp, key: jax.Array, at: jax.Array
    ) -> jax.Array:
        strengths = list(ramped(hp, at) * shares(weights))
        each = terms(game.loss, params, views(params, batches), strengths, hp, key)
        return sum(each, joint.loss(params, done, batches, weights, hp, key, at))

    def params_of(params: Params, which: Sequence[int]) -> Params:
        return {**joint.params_of(params, which), "game": [params["game"][d] for d in which]}

    if config.method.adaptive:
        fit = adaptive(joint._replace(fit=fit, loss=loss, params_of=params_of), task, len(world.sources))
    return Program((fit,), fit.scores)

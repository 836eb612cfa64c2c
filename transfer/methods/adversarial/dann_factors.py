"""Factors that do not tell the domains: cmf with a discriminator D of users or items, min L_cmf - w r · min_D loss_D.

method.of=users: D sees the features of users drawn by events of a source against those drawn by the target's, so that who
has no target history comes to look like those who have one. items: it sees the rows of items in either head, so that what
was learnt of users from one domain's items can be read with the other's. loss_D, w and r are those of dann,
with a D for each source; w = 0 is cmf.

Paper: Ganin et al. (2016), DANN; on factors as in Wang, Niepert, Li (2019), RecSys-DAN.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.learning import discriminator, game
from transfer.learning.discriminator import discriminated
from transfer.learning.game import View, with_game
from transfer.methods.model_based import cmf
from transfer.program import Batch, Model, Needs, Params, Program, Range, Task

NEEDS = Needs(source=True, shared_users=True)
HP = {**cmf.JOINT_HP, **game.HP, **discriminator.HP, "weight": Range(0.3, low=0)}


class Settings(discriminator.Discriminator):
    of: Literal["users", "items"] = "users"  # whose representations must not tell the domains


def build(config: Config, world: World, task: Task, model: Model) -> Program:
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

    fit = with_game(cmf.joint(config, task, model)[0], discriminated(config.method), views)
    return Program((fit,), fit.scores)

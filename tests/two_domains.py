"""A small world of books and films, and a method on it whose parameters are drawn: formulas are checked on its numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from conftest import interactions, world_of
from numpy.typing import NDArray

from transfer.api import compose
from transfer.data.interactions.world import World
from transfer.experiment.build import build_task
from transfer.experiment.checks import check_model, check_settings
from transfer.program import Given
from transfer.registry import find

Floats = NDArray[np.float64]
READERS, ITEMS, DIM = 12, (5, 7), 3  # of books and films
COLD, ALONE, NOBODY = 0, 1, 2  # a reader of no books, one without films, one without either


@cache
def domains() -> tuple[Floats, Floats]:
    """Who has which books and films, [readers, items]."""
    random = np.random.default_rng(0)
    books, films = ((random.random((READERS, n)) < 0.5).astype(float) for n in ITEMS)
    books[:, 0] = films[:, 0] = 1
    books[[COLD, NOBODY]], films[[ALONE, NOBODY]] = 0, 0
    return books, films


@cache
def world() -> World:
    return world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in domains()))


class Case:
    """A method on a world, with random parameters of its first stages, as many as `drawn`."""

    def __init__(self, method: str, *words: str, drawn: int = 2, here: World | None = None):
        self.world = here or world()
        given = ["task=ranking", *f"method={method}".split(), f"model.dim={DIM}", "train.batch_size=40", *words]
        self.config = check_settings(compose(given))
        self.task, self.model = build_task(self.config, self.world), check_model(self.config).build(self.config.model)
        module = find("methods", self.config.method.name)
        self.program: Any = module.build(self.config, self.world, self.task, self.model)
        self.hp: Any = Given({name: jnp.float32(value) for name, value in self.config.hp.items()}, module.__name__)
        random = np.random.default_rng(1)
        self.done: dict[str, Any] = {}
        for number, stage in enumerate(self.program.stages):
            key = jax.random.key(number)
            if not hasattr(stage, "init"):
                self.done[stage.name] = stage.solve(self.world, self.done, self.hp, key)
                continue
            fresh = stage.init(self.world, self.done, key)
            normal = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), fresh)
            self.done[stage.name] = normal if number < drawn else fresh

    def users(self, domain: str) -> Floats:
        """Biases and factors as a stage has learnt them, [readers, 1 + dim]."""
        body = self.done[domain]["body"]
        return np.concatenate([body["bias"][:, None], body["factors"]], axis=1).astype(np.float64)

    def scores(self) -> Floats:
        return np.asarray(self.program.scores(self.world, self.done, self.hp)(jnp.arange(READERS)), np.float64)

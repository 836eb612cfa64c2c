"""Worlds of one domain with as many users and items as one likes, without files: tables are as long as these."""

from __future__ import annotations

import numpy as np

from transfer.data.interactions.events import heldout_of, interactions_of
from transfer.data.interactions.world import Side, World


def world_of(users: int, items: int, hidden: int = 8) -> World:
    """A visible event of every user, and a hidden one of the first `hidden` users."""
    random = np.random.default_rng(0)

    def events(count: int) -> dict[str, np.ndarray]:
        drawn = random.integers(0, items, count).astype(np.int32)
        return {"user": np.arange(count, dtype=np.int32), "item": drawn, "rating": np.ones(count, np.float32)}

    visible = events(users)
    train = interactions_of(visible, users, items)
    part = heldout_of(events(hidden), [visible], visible, items)
    return World(Side(train, train, part), (), valid=part, test=part, scale=(1.0, 5.0))

"""A planted world of films and books in pairs, and runs on it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
from planted import NUMBERS, RANKING

from transfer.api import compose
from transfer.experiment import Result, run_batch

PAIRS, READERS = 8, 90
FOLDS_IN = (
    "ease",
    "item_knn",
    "graph_filter",
    "ials",
    "lightgcn",
    "user_knn",
    "ridge_map",
    "history_map",
    "kernel_map",
    "residual_map",
)


@cache
def files(related: bool = True) -> tuple[str, ...]:
    """Films and books in pairs: who loves film n reads book n with probability 0.9, any other book with 0.1.

    Not related: readers have the films of others.
    """
    folder, random = Path(mkdtemp(prefix="pairs-")), np.random.default_rng(0)
    love = random.random((READERS, PAIRS)) < np.linspace(0.5, 0.3, PAIRS)
    read = random.random((READERS, PAIRS)) < np.where(love, 0.9, 0.1)
    watched = love if related else random.permutation(love)
    for name, table, title in (("movies", watched, "The Film"), ("books", read, "Book")):
        users, items = np.nonzero(table)
        events = {"user_id:token": [f"u{u}" for u in users], "item_id:token": [f"{name[0]}{i}" for i in items]}
        pl.DataFrame(events).write_csv(folder / f"{name}.inter", separator="\t")
        titles = {"item_id:token": [f"{name[0]}{i}" for i in range(PAIRS)]}
        titles["title:token_seq"] = [f"{title} {'abcdefgh'[i]}" if i < PAIRS - 1 else None for i in range(PAIRS)]
        pl.DataFrame(titles).write_csv(folder / f"{name}.item", separator="\t")
    domain = ("domain=files", f"domain.target={folder}/books.inter", f"domain.source={folder}/movies.inter")
    few = ("split=cold_start", "split.beta=0.2", "train.epochs=30", "train.evaluate_every=10", "train.progress=false")
    return (*domain, *RANKING, *few)


@cache
def outcome(method: str) -> Result:
    numbers = NUMBERS.get(method, ()) if method not in ("kernel_map", "history_map") else ("hp.learning_rate=0.03",)
    (result,) = run_batch([compose([*files(), f"method={method}", *numbers])])
    return result

"""New readers of few events; what text_bridge carries."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
import pytest
from planted import RANKING

from transfer.api import compose
from transfer.config.splits import Split
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.split import split
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.experiment.build import load_world

WORDS = [f"{first}{second}{third}" for first in "bdkm" for second in "aeio" for third in ("ra", "lo", "ni")]


def library(readers: int, each: int) -> Domain:
    random = np.random.default_rng(0)
    rows = [(f"u{u:03}", f"b{i}", 5.0, None) for u in range(readers) for i in random.permutation(30)[:each]]
    return Domain("books", pl.DataFrame(rows, EVENTS, orient="row"), pl.DataFrame(schema={"item": pl.String}))


def test_few_shot_leaves_new_readers_exactly_so_many_events() -> None:
    books, kept = library(100, 12), {}
    for keep in (0, 1, 3):
        parts = split(books, [], Split(name="few_shot", seed=0, stop=0.1, keep=keep, beta=0.3, valid=0.2), Path())
        counts = dict(parts.train.group_by("user").len().iter_rows())
        hidden = {name: set(getattr(parts, name)["user"]) for name in ("valid", "test")}
        assert not hidden["valid"] & hidden["test"]
        assert 15 <= len(hidden["test"]) <= 45
        assert 8 <= len(hidden["valid"]) <= 35
        assert all(counts.get(user, 0) == keep for user in hidden["valid"] | hidden["test"])
        assert all(counts[user] == 12 for user in set(books.events["user"]) - hidden["valid"] - hidden["test"])
        assert len(parts.train) + len(parts.valid) + len(parts.test) == len(books.events)
        new = hidden["test"]
        kept[keep] = {row for row in parts.train.select("user", "item").iter_rows() if row[0] in new}
    assert kept[0] == set() < kept[1] < kept[3]


BRIDGE = ("domain.users=400", "domain.shared=0", "domain.text_dim=16", "domain.source_events=30", "domain.target_events=8")


def shelf(name: str, readers: int, items: int, events: int, shift: int, folder: Path) -> str:
    """Items of eight topics, told in words of their own; every reader likes one of four even topics t, and t + shift."""
    random = np.random.default_rng(len(name))
    words = [f"{first}{second}" for first in ("fa", "gu", "ho", "ji", "ke", "lo", "ma", "ni") for second in WORDS[:6]]
    topic = np.arange(items) % 8
    titles = [" ".join(random.permutation(words[6 * t : 6 * t + 6])[:4]) for t in topic]
    pl.DataFrame({"item_id": [f"{name}{i}" for i in range(items)], "title": titles}).write_csv(folder / f"{name}-items.csv")
    rows = []
    for reader in range(readers):
        first = 2 * int(random.integers(4))
        liked = np.flatnonzero((topic == first) | (topic == (first + shift) % 8))
        rows += [(f"reader{reader}", f"{name}{i}") for i in random.permutation(liked)[:events]]
    pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row").write_csv(folder / f"{name}.csv")
    return f"{{path: {name}.csv, items: {name}-items.csv}}"


@cache
def bridged(shift: int) -> tuple[Result, Result]:
    """text_bridge with the source and without it (weight 0), in a target where almost all readers have one event.

    There who likes topic t likes t + 1, which the texts as such do not say; in the source t and t + shift go together.
    """
    folder = Path(mkdtemp(prefix="bridge-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target, source = shelf("book", 400, 80, 3, 1, folder), shelf("movie", 300, 160, 12, shift, folder)
    domain = ("domain=files", f"data_dir={folder}", f"domain.target={target}", f"domain.source={source}")
    few = ("split=few_shot", "split.keep=1", "split.beta=0.79", "split.valid=0.2", "domain.same_users=false")
    budget = ("train.epochs=160", "train.evaluate_every=40", "train.batch_size=512", "train.progress=false")
    base = [*domain, *few, *RANKING, *budget, "domain.text_dim=16", "method=text_bridge", "hp.l2=100"]
    carried, alone = run_batch([compose([*base, f"hp.source_weight={weight}"]) for weight in (1, 0)])
    return carried, alone


def test_text_bridge_carries_what_goes_together_and_with_weight_only() -> None:
    """A source with the target's rule helps, one with another rule misleads, and without weight neither is heard."""

    def of(result: Result) -> float:
        return result.metrics["test"]["ndcg@10"]

    (same, alone), (other, deaf) = bridged(1), bridged(3)
    assert of(same) > of(alone) + 0.005, f"{of(same):.3f} with the source, {of(alone):.3f} without"
    assert of(other) < of(alone) - 0.02, f"{of(other):.3f} with a source of another rule, {of(alone):.3f} without"
    assert abs(of(deaf) - of(alone)) < 0.01
    books, films = (np.abs(alone.parameters["texts"]["domains"][n]["out"]).max() for n in (0, 1))
    assert films < books / 10, "the source's own offsets stay where they began"


def test_text_bridge_needs_texts() -> None:
    with pytest.raises(TransferError, match=r"method=text_bridge needs vectors of the items' texts.*domain\.text_dim=128"):
        run_batch([compose([*RANKING, "domain.users=100", "method=text_bridge"])])


def test_worlds_hold_a_vector_for_every_training_item() -> None:
    loaded = load_world(compose([*RANKING, *BRIDGE, "split=ratio"]))
    for side in (loaded.world.target, *loaded.world.sources):
        assert side.text is not None
        assert side.text.shape == (side.train.n_items, 16)
        np.testing.assert_allclose(np.linalg.norm(side.text, axis=1), 1, atol=1e-4)

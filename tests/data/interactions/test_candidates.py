"""Candidates of each reader in evaluation: the metric over them, its name, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import BUDGET, RANKING, atomic_files

from transfer.api import compose
from transfer.data.interactions.candidates import read_candidates
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.experiment.build import load_world

ITEMS, RANDOM = 12, np.random.default_rng(0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return atomic_files(tmp_path_factory.mktemp("candidates"))


def words(files: Path, *more: str) -> list[str]:
    domain = ("domain=files", f"domain.target={files}/books.inter", "domain.source=null")
    return [*domain, *RANKING, *BUDGET, "split=ratio", "method=ease", *more]


def pairs(loaded: Any, part: str) -> list[tuple[str, str]]:
    hidden = getattr(loaded.world, part)
    chunk, slot = np.nonzero(np.asarray(hidden.row) < hidden.users.shape[1])
    users = np.asarray(hidden.users)[chunk, np.asarray(hidden.row)[chunk, slot]]
    return [(loaded.users[u], loaded.items[i]) for u, i in zip(users, np.asarray(hidden.item)[chunk, slot], strict=True)]


@pytest.fixture(scope="module")
def table(files: Path) -> pl.DataFrame:
    """What is hidden from each reader, and some items more."""
    loaded: Any = load_world(compose(words(files)))
    rows = [*pairs(loaded, "valid"), *pairs(loaded, "test")]
    rows += [(user, item) for user in dict(rows) for item in RANDOM.choice(loaded.items, ITEMS, replace=False)]
    return pl.DataFrame(rows, ["user", "item"], orient="row").unique(maintain_order=True)


@pytest.fixture(scope="module")
def result(files: Path, table: pl.DataFrame) -> Result:
    table.write_parquet(files / "lists.parquet")
    return run_batch([compose(words(files, f"split.candidates={files}/lists.parquet"))])[0]


def test_the_metric_is_that_over_the_candidates_and_says_so(result: Result, table: pl.DataFrame) -> None:
    loaded: Any = result.predictor.loaded
    hidden: dict[str, set[str]] = {}
    for user, item in pairs(loaded, "test"):
        hidden.setdefault(user, set()).add(item)
    scores = result.predictor.score(list(hidden))
    starts, items = (np.asarray(part) for part in (loaded.world.target.train.starts, loaded.world.target.train.items))
    before: dict[str, set[str]] = {}
    for user, item in pairs(loaded, "valid"):
        before.setdefault(user, set()).add(item)
    values = []
    for user, row in zip(hidden, scores, strict=True):
        u = loaded.users.index(user)
        seen = {loaded.items[i] for i in items[starts[u] : starts[u + 1]]} | before.get(user, set())
        own = [item for item in table.filter(user=user)["item"] if item in loaded.items and item not in seen]
        ranked = sorted(own, key=lambda item: -row[loaded.items.index(item)])[:10]
        gain = sum(1 / math.log2(2 + place) for place, item in enumerate(ranked) if item in hidden[user])
        ideal = sum(1 / math.log2(2 + place) for place in range(min(10, len(hidden[user]))))
        values.append(gain / ideal)
    assert result.metrics["test"]["candidates_ndcg@10"] == pytest.approx(np.mean(values), abs=2e-3)
    assert result.facts["select"]["metric"] == "candidates_ndcg@10"
    assert not any(name.startswith("ndcg") for name in result.metrics["test"])
    assert "split.candidates lists" in result.facts["protocol"]["candidates"]


def test_a_list_of_everything_gives_the_figures_of_everything(files: Path, table: pl.DataFrame) -> None:
    plain = run_batch([compose(words(files))])[0]
    loaded: Any = plain.predictor.loaded
    everything = table.select(pl.col("user").unique()).join(pl.DataFrame({"item": loaded.items}), how="cross")
    everything.write_csv(files / "all.csv")
    listed = run_batch([compose(words(files, f"split.candidates={files}/all.csv"))])[0]
    for name, value in plain.metrics["test"].items():
        assert listed.metrics["test"][f"candidates_{name}"] == pytest.approx(value, abs=1e-6), name
    assert listed.facts["fingerprint"] != plain.facts["fingerprint"]


def test_what_is_no_list_of_candidates_is_refused_in_one_line(files: Path, table: pl.DataFrame) -> None:
    user, item = table.row(0)
    without = table.filter((pl.col("user") != user) | (pl.col("item") != item))
    for rows, more, says in (
        (without, (), f"user {user} has chosen {item} in the valid part, which is none of her candidates"),
        (table.filter(pl.col("user") != user), (), f"user {user} is asked in the valid part and has no candidates"),
        (pl.concat([table, pl.DataFrame({"user": [user], "item": ["b?"]})]), (), "the target has no item b?"),
        (table, ("task.sampled=5",), "task.sampled=5 beside split.candidates"),
    ):
        rows.write_csv(files / "lists.csv")
        with pytest.raises(TransferError) as caught:
            run_batch([compose(words(files, f"split.candidates={files}/lists.csv", *more))])
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_ratings_have_no_candidates(files: Path, table: pl.DataFrame) -> None:
    table.write_csv(files / "rated.csv")
    listed = [*words(files, f"split.candidates={files}/rated.csv")]
    listed = [word for word in listed if word not in (*RANKING, "method=ease")]
    with pytest.raises(TransferError, match="has no effect on task=rating"):
        run_batch([compose([*listed, "task=rating", "method=item_bias"])])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user,item\na,1\na,1\n", "row 3: user a has item 1 twice"),
        ("user,item\na,\n", "row 2: no item"),
        ("usr,item\na,1\n", "no column user; did you mean usr?"),
        ("user,item\n", "no candidates in it"),
    ],
)
def test_a_file_is_read_strictly(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "lists.csv").write_text(text)
    with pytest.raises(TransferError, match=says.replace("?", r"\?")):
        read_candidates(tmp_path / "lists.csv")
    with pytest.raises(TransferError, match=r"a \.csv, \.tsv or \.parquet table with"):
        read_candidates(tmp_path / "lists.txt")

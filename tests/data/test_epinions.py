"""Epinions: 27 domains in one file, with its repeats, its products in two categories and its coarse steps of time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from transfer.api import compose
from transfer.data.interactions.world import Loaded
from transfer.errors import TransferError
from transfer.experiment.build import load_world


@pytest.fixture(scope="module")
def ratings(data_dir: Path) -> pl.DataFrame:
    path = data_dir / "epinions" / "ratings.parquet"
    if not path.is_file():
        pytest.skip("no Epinions among the real data")
    return pl.read_parquet(path)


@cache
def load(folder: Path, *words: str) -> Loaded:
    found = load_world(compose(["domain=epinions", f"data_dir={folder}", *words]))
    assert isinstance(found, Loaded)
    return found


def test_absent_data_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"no file .*epinions/ratings\.parquet.*set data_dir=\.\.\. or TRANSFER_DATA$"):
        load(tmp_path)


def test_every_other_category_is_a_source_without_the_targets_products(data_dir: Path, ratings: pl.DataFrame) -> None:
    summary = load(data_dir, "split=cold_start").summary
    names = sorted(ratings["category"].unique())
    assert [source["name"] for source in summary["sources"]] == [name for name in names if name != "Books"]
    cleaning = summary["cleaning"]
    assert sum(counts["rows_read"] for counts in cleaning.values()) == len(ratings) == 922_267
    books = ratings.filter(pl.col("category") == "Books")
    assert cleaning["Books"]["repeated"] == len(books) - books.n_unique(["user", "product"])
    copies = ratings.filter((pl.col("category") != "Books") & pl.col("product").is_in(books["product"].unique().implode()))
    by_category = dict(copies.group_by("category").agg(pl.col("product").n_unique()).iter_rows())
    assert len(by_category) > 3
    for name in names:
        if name != "Books":
            assert cleaning[name]["mirrored_ids"] == by_category.get(name, 0), name
            assert cleaning[name]["dropped_items"] >= by_category.get(name, 0), name
    assert all(counts["shared_items"] == counts["equal_pairs"] == 0 for counts in summary["alike"].values())
    assert summary["target"]["likes"] == "ratings of 4 or more"
    assert summary["target"]["columns"]["time"] == "step"


@pytest.mark.parametrize("split", ["cold_start", "ratio", "global_time"])
def test_every_split_works_for_two_sources(split: str, data_dir: Path, ratings: pl.DataFrame) -> None:
    loaded = load(data_dir, f"split={split}", "domain.source=[Movies,'Kids & Family']")
    assert [source["name"] for source in loaded.summary["sources"]] == ["Movies", "Kids & Family"]
    target = loaded.summary["target"]
    assert min(target[part]["events"] for part in ("train", "valid", "test")) > 1000
    if split == "global_time":  # likes of a step are hidden together, or none of them is
        liked = ratings.filter((pl.col("category") == "Books") & (pl.col("rating") >= 4))
        step = liked["step"].sort()[int(len(liked) * 0.8)]
        assert loaded.world.merged is not None
        assert len(np.unique(np.asarray(loaded.world.merged.days))) == step - 1


def test_another_target_and_what_there_is_not(data_dir: Path, ratings: pl.DataFrame) -> None:
    loaded = load(data_dir, "split=ratio", "domain.target=Music", "domain.source=Movies")
    assert (loaded.summary["target"]["name"], loaded.summary["sources"][0]["name"]) == ("Music", "Movies")
    for words in (["domain.target=Musik"], ["domain.source=[Movies,Musik]"]):
        with pytest.raises(TransferError, match=r"no row has category 'Musik'; did you mean Music\? it has Books, Bus"):
            load(data_dir, *words)
    with pytest.raises(TransferError, match=r"a source has the rows of the target \(category Books\)"):
        load(data_dir, "domain.source=[Movies,Books]")
    assert load(data_dir, "split=ratio", "domain.source=null").world.sources == ()

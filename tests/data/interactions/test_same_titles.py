"""Items of one title in two domains are one product; files without a header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from transfer.api import compose
from transfer.config.domains import Files, ItemTable
from transfer.data.interactions.read import read_domain
from transfer.data.interactions.same_titles import with_common_ids
from transfer.data.interactions.titles import key_of
from transfer.data.interactions.world import Loaded
from transfer.errors import TransferError
from transfer.experiment.build import load_world
from transfer.solvers.joint import joint_features

TITLES = {"a": "The Calm (Seas, #1)", "b": "Storm", "c": "Storm", "d": "Wind & Rain"}
OTHERS = {"1": "calm", "a": "STORM!", "3": "Wind and rain", "4": "Elsewhere"}
VECTORS = pl.DataFrame({"key": ["1", "3", "a", "4", "b", "d"], "v": [[1, 0], [1, 0], [0, 1], [1, 1], [1, 1], [0, 2]]})
TOLD = [
    f"domain.{side}.items.features={{pages: {{path: v.parquet, item: key, columns: v}}}}" for side in ("target", "source")
]


@pytest.mark.parametrize(
    ("title", "key"),
    [
        ("The Girl with the Dragon Tattoo (Millennium, #1)", "girl with the dragon tattoo"),
        ("Les Misérables", "les miserables"),
        ("Ender's Game", "enders game"),
        ("Batman: Year One", "batman year one"),
        ("The", "the"),
        ("(#1)", None),
        (None, None),
    ],
)
def test_keys_of_titles(title: str | None, key: str | None) -> None:
    assert key_of(title) == key


def world(folder: Path, *words: str) -> Loaded:
    """The readers of `books` have all of a, b, c, d, c being read less; those of `others` have 1, a, 3, 4."""
    rows = [f"r{reader}\t{item}\t5" for reader in range(12) for item in "abcd" if item != "c" or reader < 8]
    (folder / "books.tsv").write_text("\n".join(rows) + "\n")
    (folder / "others.csv").write_text("user,item\n" + "".join(f"r{r},{i}\n" for r in range(9) for i in OTHERS))
    VECTORS.write_parquet(folder / "v.parquet")
    for name, titles in (("books", TITLES), ("others", OTHERS)):
        (folder / f"{name}-titles.csv").write_text("item,title\n" + "".join(f'{i},"{t}"\n' for i, t in titles.items()))
    target = "{path: books.tsv, columns: [user, item, rating], items: {path: books-titles.csv}}"
    source = "{path: others.csv, items: {path: others-titles.csv, item: item}}"
    base = ["domain=files", f"data_dir={folder}", f"domain.target={target}", f"domain.source={source}", "split=ratio"]
    return load_world(compose([*base, "domain.same_users=false", "domain.global_ids=true", "task=ranking", *words]))


def test_a_source_calls_items_as_the_target_does(tmp_path: Path) -> None:
    """1 is a, the other domain's a is b (more read than c, of one title), 3 is d; 4 is nobody's."""
    loaded = world(tmp_path, "domain.same_titles=true")
    assert loaded.source_items == [["a", "b", "d", "others/4"]]
    places = loaded.world.sources[0].target_items
    assert [loaded.items[i] if i >= 0 else None for i in np.asarray(places)] == ["a", "b", "d", None]
    assert loaded.world.n_items == 4, "two books of one title stay two"
    assert world(tmp_path).source_items == [["1", "3", "4", "a"]]


def test_features_are_found_by_the_ids_of_the_files(tmp_path: Path) -> None:
    """`pages` of the file's 1 and 3 are one number, and belong to what is called a and d now; those of its a to b."""
    loaded = world(tmp_path, "domain.same_titles=true", "domain.features={pages: vectors}", *TOLD)
    ours = np.asarray(loaded.world.sources[0].features["pages"])
    assert np.sign(ours).tolist() == [[1, -1], [-1, 1], [1, -1], [1, 1]]
    joint = np.asarray(joint_features(loaded.world, True)["pages"])
    np.testing.assert_array_equal(joint[4:7], 0)  # a, b and d stand in the target's columns
    np.testing.assert_array_equal(joint[7], ours[3])


def test_titles_that_nobody_shares_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="same_titles: true gives items of one title one id"):
        world(tmp_path, "domain.same_titles=true", "domain.global_ids=false")
    world(tmp_path)
    (tmp_path / "others-titles.csv").write_text("item,title\n1,x\na,y\n3,z\n4,w\n")
    books = Files(path="books.tsv", columns=("user", "item", "rating"), items=ItemTable(path="books-titles.csv"))
    others = Files(path="others.csv", items=ItemTable(path="others-titles.csv", item="item"))
    domains = [read_domain(files, tmp_path) for files in (books, others)]
    with pytest.raises(TransferError, match="others: no title is one of the target's"):
        with_common_ids(domains[0], domains[1:])


def test_a_file_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("u1\ti1\t1\nu2\ti1\t0\n")
    files = Files(path="x.tsv", columns=("user", "item", "rating"))
    assert read_domain(files, tmp_path).events["user"].to_list() == ["u1", "u2"]
    (tmp_path / "x.tsv").write_text("u1\ti1\t1\nu2\ti1\tmany\n")
    with pytest.raises(TransferError, match=r"x\.tsv, line 2: rating 'many'"):
        read_domain(files, tmp_path)
    with pytest.raises(TransferError, match=r"x\.tsv: it has 3 columns, and `columns` names user, item; name each once"):
        read_domain(Files(path="x.tsv", columns=("user", "item")), tmp_path)

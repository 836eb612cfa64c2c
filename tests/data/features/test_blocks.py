"""Blocks of item features: from columns, arrays and images of several domains to vectors in one space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transfer.config.domains import FileDomains, Files, ItemTable
from transfer.config.features import Block, Place
from transfer.data.features import images
from transfer.data.features.blocks import _block
from transfer.data.features.spaces import centred
from transfer.data.interactions.domain import Domain
from transfer.errors import TransferError

NAME = "it"


def shelf(folder: Path, name: str, table: dict[str, list[Any]], place: Place | None = None, ending: str = "csv") -> Domain:
    """A domain whose own table of items is a file; of the item ids it knows no more than that."""
    rows = pl.DataFrame(table)
    path = folder / f"{name}.{ending}"
    rows.write_csv(path) if ending == "csv" else rows.write_parquet(path)
    (folder / f"{name}-events.csv").write_text("user,item,rating\nu,1,1\n")
    items = ItemTable(path=path.name, item="item", features={} if place is None else {NAME: place})
    files = Files(path=f"{name}-events.csv", name=name, items=items)
    known = pl.DataFrame({"item": rows["item"].cast(pl.String)}, schema={"item": pl.String})
    return Domain(name, pl.DataFrame(), known.with_columns(title=pl.lit(None, pl.String)), files=files)


def made(kind: str | Block, domains: list[Domain], folder: Path, ids: list[list[str]] | None = None) -> list[np.ndarray]:
    block = kind if isinstance(kind, Block) else Block(kind=kind)  # type: ignore[arg-type]
    items = [d.items["item"] for d in domains] if ids is None else [pl.Series(of, dtype=pl.String) for of in ids]
    return _block(NAME, block, domains, items, folder, None)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_labels_are_those_that_two_items_have_in_any_domain(tmp_path: Path) -> None:
    """Films: War, Love; books: war, love; `odd` has one item. An item without labels has zeros, one of another file too."""
    films = {"item": ["1", "2", "3", "4"], "tags": ["War|odd", "Love", "", None]}
    books = {"item": ["a", "b", "c"], "kinds": ["war, love", "Love", "war"]}
    domains = [
        shelf(tmp_path, "films", films, Place(columns=("tags",))),
        shelf(tmp_path, "books", books, Place(columns=("kinds",), separator=",")),
    ]
    of_films, of_books = made("labels", domains, tmp_path, [["1", "2", "3", "4", "missing"], ["a", "b", "c"]])
    # love, war; less the mean of those that have any
    np.testing.assert_allclose(of_films[:2], unit(np.array([[-0.5, 0.5], [0.5, -0.5]])), atol=1e-6)
    np.testing.assert_array_equal(of_films[2:], 0)
    np.testing.assert_allclose(of_books, unit(np.array([[1, 1], [1, 0], [0, 1]]) - 2 / 3), atol=1e-6)


def test_numbers_are_standardised_in_every_domain(tmp_path: Path) -> None:
    films = {"item": ["1", "2", "3"], "pages": ["1", "3", "many"], "year": ["5", "5", "5"]}
    books = {"item": ["a", "b"], "pages": ["100", "300"], "year": ["", "1990"]}
    place = Place(columns=("pages", "year"))
    ours = made("numbers", [shelf(tmp_path, "films", films, place), shelf(tmp_path, "books", books, place)], tmp_path)
    for rows, length in zip(ours, (3, 2), strict=True):
        expected = np.zeros((length, 2))
        expected[:2, 0] = [-(0.5**0.5), 0.5**0.5]  # ± 1 by the root of two columns
        np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_an_array_has_a_row_for_every_row_of_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(4, 3)).astype(np.float32)
    np.save(tmp_path / "v.npy", array)
    films = shelf(tmp_path, "films", {"item": ["7", "5", "6", "5"]}, Place(path="v.npy"))
    (rows,) = made("vectors", [films], tmp_path, [["5", "6", "8"]])
    (expected,) = centred([np.stack([array[1], array[2], np.zeros(3, np.float32)])])
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.save(tmp_path / "v.npy", array[:3])
    with pytest.raises(TransferError, match=r"v\.npy: an array of float32 and shape \(3, 3\).*of the 4 rows of films\.csv"):
        made("vectors", [films], tmp_path)
    np.save(tmp_path / "v.npy", np.where(array == array[0, 0], np.nan, array))
    with pytest.raises(TransferError, match=r"v\.npy: a vector has a number that is not finite"):
        made("vectors", [films], tmp_path)
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(TransferError, match=r"v\.npy: not an array of NumPy"):
        made("vectors", [films], tmp_path)


def test_lists_of_a_parquet_file_are_vectors_of_one_width(tmp_path: Path) -> None:
    pl.DataFrame({"key": ["b", "a"], "v": [[1.0, 0.0], [0.0, 1.0]]}).write_parquet(tmp_path / "v.parquet")
    place = Place(path="v.parquet", item="key", columns=("v",))
    books = shelf(tmp_path, "books", {"item": ["a", "b", "c"]}, place)
    (rows,) = made("vectors", [books], tmp_path)
    np.testing.assert_allclose(rows, [*unit(np.array([[-0.5, 0.5], [0.5, -0.5]])), [0, 0]], atol=1e-6)
    films = shelf(tmp_path, "films", {"item": ["1", "2"], "v": [[1.0, 2.0, 3.0], [2.0, 1.0, 0.0]]}, ending="parquet")
    assert films.files is not None
    films = Domain("films", films.events, films.items.with_columns(it=pl.Series([[1.0] * 3, [2.0] * 3])), files=films.files)
    with pytest.raises(TransferError, match="2 numbers per item in books and 3 numbers per item in films; one name"):
        made("vectors", [books, films], tmp_path)
    pl.DataFrame({"key": ["b", "a"], "v": [[1.0, 0.0], [0.0]]}).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(TransferError, match="vectors of 1 and 2 numbers; all need the same number"):
        made("vectors", [books], tmp_path)
    with pytest.raises(TransferError, match="column item holds String, no vectors"):
        made("vectors", [shelf(tmp_path, "words", {"item": ["a"]}, Place(columns=("item",)))], tmp_path)


def test_images_are_found_by_item_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "covers").mkdir()
    for item, colour in {"a": (255, 0, 0), "b": (0, 0, 255), "d": (0, 255, 0)}.items():
        Image.new("RGB", (5, 7), colour).save(tmp_path / "covers" / f"{item}.png")
    books = shelf(tmp_path, "books", {"item": ["a", "b", "c"]}, Place(path="covers"))
    block = Block(kind="images", side=2)
    (rows,) = made(block, [books], tmp_path)
    pixels = np.array([[0.5, 0, -0.5] * 4, [-0.5, 0, 0.5] * 4])
    np.testing.assert_allclose(rows, [*unit(pixels), np.zeros(12)], atol=1e-6)
    monkeypatch.setattr(images, "picture", None)
    np.testing.assert_array_equal(made(block, [books], tmp_path)[0], rows)
    Image.new("RGB", (5, 7), (9, 9, 9)).save(tmp_path / "covers" / "a.png")
    with pytest.raises(TypeError):  # the content has changed
        made(block, [books], tmp_path)
    with pytest.raises(TransferError, match=r"covers: no image is named by an item, such as x\.jpg"):
        made(block, [books], tmp_path, [["x"]])
    elsewhere = shelf(tmp_path, "books", {"item": ["a"]}, Place(path="nowhere"))
    with pytest.raises(TransferError, match="nowhere: no such folder of images"):
        made(block, [elsewhere], tmp_path)


def test_a_block_that_the_target_has_not_is_refused_and_a_source_may_lack_it(tmp_path: Path) -> None:
    books = shelf(tmp_path, "books", {"item": ["a", "b"], "tags": ["x|y", "x"]}, Place(columns=("tags",)))
    films = shelf(tmp_path, "films", {"item": ["1", "2", "3"]})
    of_books, of_films = made("labels", [books, shelf(tmp_path, "films", {"item": ["1"]})], tmp_path)
    assert of_books.shape == (2, 1)
    np.testing.assert_array_equal(of_films, np.zeros((1, 1)))
    with pytest.raises(TransferError, match=r"features\.it: nothing says where films has it; write domain\.target\.items"):
        made("labels", [films, books], tmp_path)
    nothing = shelf(tmp_path, "plain", {"item": ["a", "b"], "tags": ["x", "y"]}, Place(columns=("tags",)))
    with pytest.raises(TransferError, match=r"features\.it: no two items share a label"):
        made("labels", [nothing], tmp_path)
    with pytest.raises(TransferError, match=r"books\.csv: no column 'tag'; its columns are item, tags"):
        made("labels", [shelf(tmp_path, "books", {"item": ["a"], "tags": ["x"]}, Place(columns=("tag",)))], tmp_path)


def test_a_file_that_has_none_of_the_items_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"key": ["a1", "b1"], "pages": [1, 2]}).write_csv(tmp_path / "pages.csv")
    place = Place(path="pages.csv", item="key", columns=("pages",))
    with pytest.raises(
        TransferError, match=r"pages\.csv: none of the 2 items of books is in it; correct `item` or `links`"
    ):
        made("numbers", [shelf(tmp_path, "books", {"item": ["a", "b"]}, place)], tmp_path)


def test_dim_reduces_a_block_and_keeps_its_first_directions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 6))
    np.save(tmp_path / "v.npy", plane + 1)
    books = shelf(tmp_path, "books", {"item": [str(i) for i in range(60)]}, Place(path="v.npy"))
    (whole,), (reduced,) = (made(Block(kind="vectors", dim=dim), [books], tmp_path) for dim in (None, 2))
    assert (whole.shape, reduced.shape) == ((60, 6), (60, 2))
    assert np.corrcoef((whole @ whole.T).ravel(), (reduced @ reduced.T).ravel())[0, 1] > 0.98


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    ids, tags = [f"b{i}" for i in range(6)], ["x|y", "y", "x|z", "z|y", "x", ""]
    array = np.random.default_rng(1).normal(size=(6, 4))
    found = []
    for number, rows in enumerate((range(6), order)):
        np.save(folder / f"{number}.npy", array[list(rows)])
        table = {"item": [ids[i] for i in rows], "tags": [tags[i] for i in rows]}
        labels = made("labels", [shelf(folder, f"l{number}", table, Place(columns=("tags",)))], folder, [ids])[0]
        vectors = made("vectors", [shelf(folder, f"v{number}", table, Place(path=f"{number}.npy"))], folder, [ids])[0]
        found.append((labels, vectors))
    for plain, moved in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, moved)


def files(**changes: Any) -> FileDomains:
    known: dict[str, Any] = {
        **{"kind": "files", "name": "files", "target": "b.csv", "source": None, "same_users": True, "global_ids": False},
        **{"duplicates": "last", "mirrored": "keep", "near_duplicates": "report", "jaccard": 0.6, "common_raters": 5},
        **{"core": 0, "text_dim": 0},
    }
    return FileDomains.model_validate(known | changes)


def test_text_dim_is_short_for_a_block_and_blocks_have_hashes() -> None:
    assert files(text_dim=64).blocks == {"text": Block(kind="words", dim=64)}
    domains = files(features={"genres": "labels", "cover": None, "plot": {"kind": "encoded", "encoder": "minilm"}})
    assert list(domains.blocks) == ["genres", "plot"]
    assert FileDomains.model_validate(domains.model_dump(mode="json")) == domains
    assert hash(domains) == hash(FileDomains.model_validate(domains.model_dump(mode="json")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text_dim": 8, "features": {"text": "words"}}, "two blocks of one name"),
        ({"features": {"My Text": "words"}}, "My Text"),
        ({"features": {"genres": "label"}}, "'words', 'encoded', 'labels'"),
        ({"features": {"plot": "encoded"}}, "goes with encoder"),
        ({"features": {"it": "labels"}, "target": {"path": "b.csv", "items": {"features": {"it": {}}}}}, "name a column"),
        ({"target": {"path": "b.csv", "items": {"features": {"genre": "x"}}}}, r"write domain\.features\.genre=KIND"),
    ],
)
def test_wrong_blocks_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        files(**changes)

"""Covers as a source and a target: images of two kinds of things, and books by category."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment.build import load_world

SIDE, BOOKS, THINGS = 6, 24, 16


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books of two categories and things of two kinds, each of a grey of its own."""
    place = tmp_path_factory.mktemp("covers")
    rows: dict[str, list[dict[str, str]]] = {"book-covers": [], "game-and-book-covers": []}
    for folder, count in (("book-covers", BOOKS), ("game-and-book-covers", THINGS)):
        (place / folder).mkdir()
        for i in range(count):
            Image.fromarray(np.full((9, 7, 3), i, np.uint8)).save(place / folder / f"{i}.png")
            more = {"kind": ("book", "game")[i % 2]}
            if folder == "book-covers":
                more = {"category": ("art", "war")[i % 2], "title": "A", "description": "a story"}
            rows[folder].append({"cover": f"{i}.png", **more})
    pl.DataFrame(rows["book-covers"]).write_csv(place / "book-covers" / "books.csv")
    pl.DataFrame(rows["game-and-book-covers"]).write_csv(place / "game-and-book-covers" / "covers.csv")
    return place


def test_kinds_are_a_source_with_classes_of_their_own(data: Path) -> None:
    words = ["domain=book_covers", "domain.source=kinds", "split=few_labels", "split.target_labels=4", "split.stop=0.25"]
    loaded = load_world(compose([*words, "domain.features=cover", f"domain.side={SIDE}", f"data_dir={data}"]))
    (source,) = loaded.world.sources
    train = source.train
    assert train.x.shape == (3 * THINGS // 4, SIDE, SIDE, 3)
    grey = np.asarray(train.x)[:, 0, 0, 0] * 255
    np.testing.assert_array_equal(np.asarray(train.y).argmax(1), np.round(grey) % 2, "odd greys are games")
    assert loaded.classes == ("art", "war")
    assert loaded.world.unlabelled.shape[1:] == train.x.shape[1:]
    with pytest.raises(TransferError, match=r"kinds has covers alone, no both; write domain\.features=cover"):
        load_world(compose([*words, f"data_dir={data}"]))

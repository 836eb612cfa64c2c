"""Covers as a source and a target: images of two kinds of things, and books by category."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from transfer.api import compose
from transfer.config.domains import ExampleDomains
from transfer.data import load
from transfer.data.examples.encoded import encoded
from transfer.data.examples.sets import book_covers
from transfer.data.examples.sets.raw import Raw
from transfer.data.examples.world import LoadedExamples
from transfer.errors import TransferError
from transfer.experiment.build import load_world
from transfer.experiment.checks import check_settings
from transfer.storage import packaged

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


def test_covers_are_encoded_once_by_a_network_of_images(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees the covers in [0, 1]; another size of them is encoded anew, another split is not."""
    seen = []

    def grey(given: str, x: np.ndarray) -> np.ndarray:
        seen.append((given, x.shape))
        return x.mean(axis=(1, 2))

    package = packaged.Package("PIL", "Image.py", "", "", reads="images")  # any module with a file
    monkeypatch.setitem(packaged.PACKAGES, "greys", package)
    words = ["domain=book_covers", "domain.features=encoded", "domain.encoder=greys", f"data_dir={data}"]

    def loaded(*more: str) -> LoadedExamples:
        config = check_settings(compose([*words, *more]))
        world = load.load_world(config, book_covers, grey)
        assert isinstance(world, LoadedExamples)
        return world

    world = loaded(f"domain.side={SIDE}").world
    hidden = (np.asarray(part.inputs.x).reshape(-1, 3) for part in (world.valid, world.test))
    found = np.concatenate([np.asarray(world.unlabelled), *hidden])
    np.testing.assert_allclose(np.sort(found[:, 0] * 255), np.arange(BOOKS), atol=1e-4)
    loaded(f"domain.side={SIDE}", "split.seed=1")
    loaded("domain.side=4")
    assert seen == [("greys", (BOOKS, SIDE, SIDE, 3)), ("greys", (BOOKS, 4, 4, 3))]
    with pytest.raises(TransferError, match="greys reads images, and news_to_books has none"):
        encoded([Raw("news", np.ones((1, 2)), ("a", "b"), np.zeros(1, bool), texts=["a"])], news("greys"), grey)


def test_modalities_are_the_same_books_read_in_several_ways(data: Path) -> None:
    """Each block is what the domain has alone, to a factor, for the same books in the same parts."""
    words = ["domain=book_covers", f"data_dir={data}", f"domain.side={SIDE}", "split=few_labels", "split.target_labels=6"]

    def loaded(*more: str) -> LoadedExamples:
        found = load_world(check_settings(compose([*words, *more])))
        assert isinstance(found, LoadedExamples)
        return found

    both = loaded("domain.modalities={text: description, cover: {features: cover, standardise: domain}}")
    alone = {
        "text": loaded("domain.features=description"),
        "cover": loaded("domain.features=cover", "domain.standardise=domain"),
    }
    widths = dict(both.world.modalities)
    assert (
        widths == both.summary["modalities"] == {"text": alone["text"].world.unlabelled.shape[1], "cover": 3 * SIDE * SIDE}
    )
    assert both.featuriser is None
    start = 0
    for name, width in widths.items():
        ratios = set()
        for part in ("unlabelled", "labelled", "test"):
            one, other = (getattr(of.world, part) for of in (both, alone[name]))
            one, other = (getattr(of, "inputs", getattr(of, "x", of)) for of in (one, other))
            one, other = (np.asarray(getattr(of, "x", of)) for of in (one, other))
            block, wanted = one[..., start : start + width], other.reshape(*one.shape[:-1], width)
            there = np.abs(wanted) > 1e-3
            np.testing.assert_array_equal(block[wanted == 0], 0)
            ratios |= set(np.round(block[there] / wanted[there], 4))
        assert max(ratios) - min(ratios) <= 2e-4, (name, ratios)
        start += width
    other = ["domain=moons", "domain.modalities={all: points, few: {features: points, points: 50}}"]
    with pytest.raises(TransferError, match="they have different examples; what decides these stands beside them"):
        load_world(check_settings(compose(other)))


def news(encoder: str) -> ExampleDomains:
    domain = compose(["domain=news_to_books", "domain.features=encoded", f"domain.encoder={encoder}"]).domain
    assert isinstance(domain, ExampleDomains)
    return domain


def test_the_commonest_categories_may_be_kept_alone(tmp_path: Path) -> None:
    (tmp_path / "book-covers").mkdir()
    counts = {"art": 12, "war": 14, "sea": 10, "few": 9}
    rows = [
        {"category": name, "title": name, "description": "", "cover": "-"} for name in counts for _ in range(counts[name])
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "book-covers" / "books.csv")
    for categories, classes in ((None, ("art", "sea", "war")), (2, ("art", "war"))):
        asked = f"domain.categories={'null' if categories is None else categories}"
        config = check_settings(compose(["domain=book_covers", "domain.features=description", asked]))
        assert isinstance(config.domain, book_covers.Settings)
        raw = book_covers.read("books", config.domain, tmp_path)
        assert raw.classes == classes
        assert [int(n) for n in raw.y.sum(0)] == [counts[name] for name in classes]

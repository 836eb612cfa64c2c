"""Book covers with description and category, from the cover, the text or both; shelves that are no genre are left out.

`kinds` is a source for networks of images: covers of books and of computer games, to be told apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from transfer.config.domains import ExampleDomains
from transfer.data.examples.images import picture
from transfer.data.examples.sets.raw import Raw, existing, one_hot
from transfer.errors import TransferError
from transfer.storage.damaged import csv, reading
from transfer.storage.packaged import read_by

DOMAINS = ("books", "kinds")
FEATURES = ("cover", "description", "both", "tokens", "encoded")
NOT_GENRES = ("default", "add-a-comment")
FEWEST = 10  # books of a category that is kept


class Settings(ExampleDomains):
    categories: int | None = Field(default=None, ge=2)  # the commonest of them alone; null: all that have ten books


def read(name: str, settings: Settings, data_dir: Path) -> Raw:
    """Covers are `domain.side` pixels wide and high. Raises TransferError for texts of `kinds`, which has none."""
    if name == "kinds":
        if settings.features != "cover" and not _encoded(settings):
            raise TransferError(
                f"domain.source=kinds has covers alone, no {settings.features}; write domain.features=cover"
            )
        return _kinds(data_dir / "game-and-book-covers", settings.side)
    folder = data_dir / "book-covers"
    path = existing(folder / "books.csv", "domain=book_covers")
    table = csv(path, ["category", "title", "description", "cover"])
    with reading(path, "a list of books"):
        table = table.drop_nulls(["category", "cover"]).filter(~pl.col("category").is_in(NOT_GENRES))
        table = table.filter(pl.len().over("category") >= FEWEST)
        kept = table["category"].value_counts().sort(["count", "category"], descending=[True, False])["category"]
        classes = tuple(kept.head(settings.categories or len(kept)).sort())
        table = table.filter(pl.col("category").is_in(classes))
        if len(classes) < 2:
            raise TransferError(f"fewer than two categories have {FEWEST} books")
        y = one_hot(np.array([classes.index(category) for category in table["category"]]), len(classes))
        texts = [f"{title} {said}" for title, said in table.select("title", "description").fill_null("").iter_rows()]
    seen = settings.features in ("cover", "both") or _encoded(settings)
    covers = np.stack([picture(folder, place, settings.side) for place in table["cover"]]) if seen else None
    hidden = np.zeros(len(y), bool)
    return Raw(name, y, classes, hidden, texts=texts if settings.features != "cover" else None, arrays=covers, path=path)


def _encoded(settings: ExampleDomains) -> bool:
    """Whether covers are what a frozen network makes vectors of."""
    return settings.features == "encoded" and read_by(settings.encoder) == "images"


def _kinds(folder: Path, side: int) -> Raw:
    path = existing(folder / "covers.csv", "domain.source=kinds")
    table = csv(path, ["kind", "cover"])
    with reading(path, "a list of covers"):
        kinds = [("book", "game").index(kind) for kind in table["kind"]]
        covers = np.stack([picture(folder, place, side) for place in table["cover"]])
    y = one_hot(np.array(kinds), 2)
    return Raw("kinds", y, ("book", "game"), np.zeros(len(y), bool), arrays=covers, path=path)

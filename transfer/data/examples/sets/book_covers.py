"""Book covers with description and category, from the cover, the text or both; shelves that are no genre are left out.

`kinds` is a source for networks of images: covers of books and of computer games, to be told apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, existing, one_hot
from transfer.errors import TransferError

DOMAINS = ("books", "kinds")
FEATURES = ("cover", "description", "both", "tokens", "encoded")
NOT_GENRES = ("default", "add-a-comment")
FEWEST = 10  # books of a category that is kept


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    """Covers are `domain.side` pixels wide and high. Raises TransferError for texts of `kinds`, which has none."""
    if name == "kinds":
        return _kinds(settings.features, data_dir / "game-and-book-covers", settings.side)
    folder = data_dir / "book-covers"
    table = pl.read_csv(existing(folder / "books.csv", "domain=book_covers"))
    table = table.filter(~pl.col("category").is_in(NOT_GENRES)).filter(pl.len().over("category") >= FEWEST)
    classes = tuple(table["category"].unique().sort())
    y = one_hot(np.array([classes.index(category) for category in table["category"]]), len(classes))
    texts = [f"{title} {said}" for title, said in table.select("title", "description").fill_null("").iter_rows()]
    covers = (
        np.stack([cover(folder / path, settings.side) for path in table["cover"]])
        if settings.features in ("cover", "both")
        else None
    )
    hidden = np.zeros(len(y), bool)
    return Raw(name, y, classes, hidden, texts=texts if settings.features != "cover" else None, arrays=covers)


def _kinds(features: str, folder: Path, side: int) -> Raw:
    if features != "cover":
        raise TransferError(f"domain.source=kinds has covers alone, no {features}; write domain.features=cover")
    table = pl.read_csv(existing(folder / "covers.csv", "domain.source=kinds"))
    y = one_hot((table["kind"] == "game").to_numpy(), 2)
    covers = np.stack([cover(folder / path, side) for path in table["cover"]])
    return Raw("kinds", y, ("book", "game"), np.zeros(len(y), bool), arrays=covers)


def cover(path: Path, side: int) -> np.ndarray:
    """An image file as float32 [side, side, 3] in [0, 1], squeezed. Raises TransferError for an unreadable one."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(existing(path, "domain=book_covers")) as image:
            return np.asarray(image.convert("RGB").resize((side, side)), np.float32) / 255
    except (UnidentifiedImageError, OSError) as error:
        raise TransferError(f"{path}: not a readable image ({error}); remove its row from books.csv") from None

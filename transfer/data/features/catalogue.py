"""What lists are measured by and nothing is learnt from: genres, texts and prices of the target's items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from transfer.config.domains import FileDomains, ItemTable, SimulatedDomains
from transfer.config.features import Place
from transfer.data.features.columns import columns_of
from transfer.data.features.spaces import RAREST
from transfer.data.interactions.domain import Domain
from transfer.errors import TransferError

MOST = 100  # genres: of longer lists, which are tags, the commonest
TEXTS = ("words", "encoded")  # kinds of blocks
QUOTES = " '\"[]"  # around a genre in a cell that was a list
Catalogued = Callable[[Domain, pl.Series, dict[str, np.ndarray]], dict[str, np.ndarray]]


def cataloguer(config: FileDomains | SimulatedDomains, data_dir: Path) -> Catalogued:
    """What reads genres, texts and prices of a domain's items, those that it has: arrays by name, as Catalogue has them."""
    texts = next((name for name, block in config.blocks.items() if block.kind in TEXTS), None)

    def catalogued(domain: Domain, items: pl.Series, blocks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        table = (domain.files and domain.files.items) or ItemTable()
        genres, price = (_place(name, getattr(table, name), domain) for name in ("genres", "price"))
        found = {
            "genres": None if genres is None else shares(columns_of(genres, domain, items, data_dir), genres.separator),
            "texts": None if texts is None else blocks[texts],
            "price": None if price is None else prices(columns_of(price, domain, items, data_dir), domain.name),
        }
        return {name: rows for name, rows in found.items() if rows is not None}

    return catalogued


def check_sources(sources: list[Domain]) -> None:
    """Raise TransferError where a source has what only the lists of a target are measured by."""
    for source in sources:
        table = source.files and source.files.items
        if source.files and (source.files.disliked is not None or (table and (table.genres or table.price))):
            raise TransferError(
                f"{source.name}: dislikes, genres and prices say something of the target's lists; leave them out of a "
                "source, or write task.domains=all"
            )


def _place(name: str, given: Place | None, domain: Domain) -> Place | None:
    """As it is given, else the column of that name that the domain's table is known to have."""
    return given or (Place(columns=(name,)) if name in domain.items.columns else None)


def shares(table: pl.DataFrame, separator: str) -> np.ndarray | None:
    """Equal shares of each item's genres, float32 [items, genres], zeros for an item without; None where there are none.

    A genre is one that RAREST items have; of more than MOST the commonest. Without a separator in any cell, commas are it.
    """
    text = [
        column.list.join(separator) if isinstance(column.dtype, pl.List) else column.cast(pl.String) for column in table
    ]
    if not any(column.str.contains(separator, literal=True).any() for column in text):
        separator = ","
    cells = zip(*(column.fill_null("").str.split(separator).to_list() for column in text), strict=True)
    rows = [sorted({genre for cell in row for word in cell if (genre := word.strip(QUOTES).lower())}) for row in cells]
    counts = Counter(genre for row in rows for genre in row)
    common = sorted((-count, genre) for genre, count in counts.items() if count >= RAREST)[:MOST]
    if not common:
        return None
    place = {genre: i for i, (_, genre) in enumerate(sorted(common, key=lambda pair: pair[1]))}
    found = np.zeros((len(rows), len(place)), np.float32)
    for own, row in zip(found, rows, strict=True):
        known = [place[genre] for genre in row if genre in place]
        own[known] = 1 / max(len(known), 1)
    return found


def prices(table: pl.DataFrame, name: str) -> np.ndarray:
    """The price of each item, float32 [items], 0 where none is known. Raises TransferError where none or a negative is."""
    column = table.to_series().cast(pl.String).str.strip_chars(" $€£").cast(pl.Float64, strict=False).fill_null(0.0)
    found = np.nan_to_num(column.to_numpy().astype(np.float32), posinf=0.0)
    if found.min(initial=0) < 0 or not found.any():
        problem = "a price is below 0" if found.min(initial=0) < 0 else "no item has a price"
        raise TransferError(f"domain.target.items.price: {problem} in the column for {name}; correct `columns` or `item`")
    return found

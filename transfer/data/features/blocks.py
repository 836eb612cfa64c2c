"""The blocks of item features of a world: read for each domain, and made vectors in one space per block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from transfer.config.domains import FileDomains, SimulatedDomains
from transfer.config.features import Block, Place
from transfer.data.examples.encoded import Encode, encoded_texts
from transfer.data.features.columns import array_of, columns_of, texts_of
from transfer.data.features.images import pixels_of
from transfer.data.features.spaces import RAREST, Rows, centred, parted, project, standardised
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.read import locate
from transfer.errors import TransferError

WIDTH = 128  # of words and images where nothing is said
Blocks = dict[str, Rows]  # by name: float32 [items, width], zeros for an item without the block
Featurise = Callable[[list[Domain], list[pl.Series]], list[Blocks]]  # domains and ids of their items -> blocks of each


def featuriser(config: FileDomains | SimulatedDomains, data_dir: Path, encode: Encode | None) -> Featurise | None:
    """What makes the blocks of a world's items, the target first; None where it has none.

    Vocabularies and directions come from the items that are asked for, those of the world; nothing looks at events.
    """
    if not config.blocks:
        return None

    def blocks(domains: list[Domain], items: list[pl.Series]) -> list[Blocks]:
        made = {name: _block(name, block, domains, items, data_dir, encode) for name, block in config.blocks.items()}
        return [{name: rows[i] for name, rows in made.items()} for i in range(len(domains))]

    return blocks


def _block(
    name: str, block: Block, domains: list[Domain], items: list[pl.Series], data_dir: Path, encode: Encode | None
) -> list[Rows]:
    """Rows of every domain in the space of one block.

    Raises TransferError where the target has nothing of it, and where the rows of two domains differ in width.
    """
    places = [_place(name, block, domain) for domain in domains]
    if block.kind in ("words", "encoded"):
        texts = [texts_of(place, of, ids, data_dir) for place, of, ids in zip(places, domains, items, strict=True)]
        if block.kind == "words":
            from transfer.data.features.words import vectors  # late: it needs sparse matrices

            return vectors(texts, block.dim or WIDTH)
        plain = [[text or "" for text in of_domain] for of_domain in texts]
        rows = encoded_texts(plain, block.encoder or "", block.length, encode)
        told = [np.array([bool(text.strip()) for text in of_domain]) for of_domain in plain]
        return _reduced([np.where(there[:, None], z, 0) for there, z in zip(told, rows, strict=True)], block.dim)
    if places[0] is None:
        raise TransferError(
            f"domain.features.{name}: nothing says where {domains[0].name} has it; write "
            f"domain.target.items.features.{name}=COLUMN, or {{path: FILE or FOLDER}}"
        )
    read = READERS[block.kind]
    found = [
        None if place is None else read(place, block, of, ids, data_dir)
        for place, of, ids in zip(places, domains, items, strict=True)
    ]
    if block.kind == "labels":
        return _reduced(_one_hot(name, found, items), block.dim)
    widths = {domain.name: part.shape[1] for domain, part in zip(domains, found, strict=True) if part is not None}
    if len(set(widths.values())) > 1:
        differ = " and ".join(f"{width} numbers per item in {of}" for of, width in widths.items())
        raise TransferError(f"domain.features.{name}: {differ}; one name is one space: give one of them another name")
    missing = np.nan if block.kind == "numbers" else 0.0
    width = next(iter(widths.values()))
    rows = [
        np.full((len(ids), width), missing, np.float32) if part is None else part
        for ids, part in zip(items, found, strict=True)
    ]
    if block.kind == "numbers":
        return standardised(rows)
    return _reduced(rows, block.dim or (WIDTH if block.kind == "images" else None))


def _place(name: str, block: Block, domain: Domain) -> Place | None:
    """Where a domain has a block: as it says, else the column of that name that it is known to have."""
    given = domain.files.items.features if domain.files and domain.files.items else {}
    if name in given:
        return given[name]
    return Place(columns=(name,)) if name in domain.items.columns and block.kind != "images" else None


def _labels(place: Place, block: Block, domain: Domain, ids: pl.Series, data_dir: Path) -> list[list[str]]:
    """The labels of each item in small letters; those of several columns together."""
    table = columns_of(place, domain, ids, data_dir)
    lists = [
        column if isinstance(column.dtype, pl.List) else column.cast(pl.String).str.split(place.separator)
        for column in table
    ]
    rows = zip(*(column.to_list() for column in lists), strict=True)
    said = [{str(label).strip().lower() for cell in row for label in cell or [] if label is not None} for row in rows]
    return [sorted(labels - {""}) for labels in said]


def _one_hot(name: str, domains: list[list[list[str]] | None], items: list[pl.Series]) -> list[Rows]:
    """1 for each label that RAREST items of all domains have; the columns are in the order of the alphabet."""
    labels = pl.Series([label for of in domains for row in of or [] for label in row], dtype=pl.String)
    counts = labels.value_counts().filter(pl.col("count") >= RAREST)
    column = {label: i for i, label in enumerate(sorted(counts.to_series()))}
    if not column:
        raise TransferError(f"domain.features.{name}: no two items share a label; correct `separator` or the column")
    made = []
    for of, ids in zip(domains, items, strict=True):
        rows = np.zeros((len(ids), len(column)), np.float32)
        for row, own in zip(rows, of or [], strict=False):  # none of a domain without the block
            row[[column[label] for label in own if label in column]] = 1
        made.append(rows)
    return made


def _numbers(place: Place, block: Block, domain: Domain, ids: pl.Series, data_dir: Path) -> Rows:
    """Columns of numbers, NaN where a cell is none."""
    table = columns_of(place, domain, ids, data_dir)
    numbers = table.select(pl.all().cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False))
    found = numbers.to_numpy().astype(np.float32)
    return np.where(np.isfinite(found), found, np.nan)


def _images(place: Place, block: Block, domain: Domain, ids: pl.Series, data_dir: Path) -> Rows:
    if place.path is None:
        raise TransferError(f"{domain.name}: images are in a folder, with files named by item; write {{path: FOLDER}}")
    folders = [folder for folder in (data_dir / place.path, Path(place.path)) if folder.is_dir()]
    return pixels_of(folders[0] if folders else data_dir / place.path, ids, block.side)


def _vectors(place: Place, block: Block, domain: Domain, ids: pl.Series, data_dir: Path) -> Rows:
    """Vectors of an array, or of a column of lists; zeros for an item without one."""
    if place.path and Path(place.path).suffix == ".npy":
        found = array_of(locate(place.path, data_dir), domain, ids, data_dir)
    else:
        column = columns_of(place, domain, ids, data_dir).to_series()
        found = _of_lists(column, f"{domain.name}, column {place.columns[0]}")
    if not np.isfinite(found).all():
        raise TransferError(f"{place.path or domain.name}: a vector has a number that is not finite; remove or correct it")
    return found


def _of_lists(column: pl.Series, where: str) -> Rows:
    if not isinstance(column.dtype, pl.List | pl.Array):
        raise TransferError(f"{where} holds {column.dtype}, no vectors; give a .npy, or lists of numbers in a Parquet file")
    lists = column.cast(pl.List(pl.Float32))
    widths = lists.list.len().drop_nulls().unique().sort().to_list()
    if len(widths) != 1 or not widths[0]:
        told = " and ".join(map(str, widths)) or "no"
        raise TransferError(f"{where}: vectors of {told} numbers; all need the same number")
    found = np.zeros((len(column), widths[0]), np.float32)
    found[lists.is_not_null().to_numpy()] = lists.drop_nulls().explode().to_numpy().reshape(-1, widths[0])
    return found


def _reduced(domains: list[Rows], dim: int | None) -> list[Rows]:
    """The rows, centred by domain, on their first `dim` directions, of length 1."""
    rows = centred(domains)
    if dim is None or dim >= rows[0].shape[1]:
        return rows
    return centred(parted(project(np.concatenate(rows), dim), list(map(len, rows))))


READERS: dict[str, Callable[..., Any]] = {
    "labels": _labels,
    "numbers": _numbers,
    "images": _images,
    "vectors": _vectors,
}

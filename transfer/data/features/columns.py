"""What is said of items in tables: columns of their own table or of other files, found by id, link or title."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from transfer.config.features import Columns
from transfer.data.interactions.columns import TYPES, required
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.formats import Dialect
from transfer.data.interactions.read import ids_of, item_table, locate
from transfer.data.interactions.same_titles import OWN
from transfer.data.interactions.table import Table, collect, open_table
from transfer.data.interactions.titles import key_of
from transfer.errors import TransferError
from transfer.storage.damaged import reading

PLACE = "`texts` or `items.features`"
DESCRIBED = ("title", "author", "genres")  # of an item, where its table has them


def columns_of(place: Columns, domain: Domain, ids: pl.Series, data_dir: Path) -> pl.DataFrame:
    """The columns of a place for these items, in their order and called 0, 1, …: null for items that it does not have."""
    if place.path is None and set(place.columns) <= set(domain.items.columns):
        table = domain.items.select("item", *(pl.col(name).alias(str(i)) for i, name in enumerate(place.columns)))
        return _aligned(ids, table)
    called = ids if place.by == "title" else _in_files(ids, domain)
    if place.path is None:
        return _aligned(called, _own_rows(place.columns, domain, data_dir)[0].drop("row"))
    found = _of_file(place, domain, data_dir)
    if not called.cast(pl.String).is_in(found["item"].cast(pl.String).implode()).any():
        raise TransferError(
            f"{place.path}: none of the {len(ids):,} items of {domain.name} is in it; correct `item` or `links`"
        )
    return _aligned(called, found)


def texts_of(place: Columns | None, domain: Domain, ids: pl.Series, data_dir: Path) -> list[str | None]:
    """A text per item; without a place all that is known of it: title, author, genres, and the texts that `files` names."""
    if place is not None:
        return _told(columns_of(place, domain, ids, data_dir)).to_list()
    described = Columns(columns=tuple(name for name in domain.items.columns if name in DESCRIBED))
    places = [*([described] if described.columns else []), *(domain.files.texts if domain.files else ())]
    parts = [_told(columns_of(part, domain, ids, data_dir)).alias(str(i)) for i, part in enumerate(places)]
    return _told(pl.DataFrame(parts)).to_list() if parts else [None] * len(ids)


def array_of(path: Path, domain: Domain, ids: pl.Series, data_dir: Path) -> np.ndarray:
    """Rows of a .npy for these items, float32 [ids, width]: its k-th row is that of the k-th row of the item table.

    Raises TransferError where it is no matrix of numbers, or has more or fewer rows than the table.
    """
    rows, table = _own_rows((), domain, data_dir)
    with reading(path, "an array of NumPy"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise TransferError("several arrays in one file; save one of them as .npy")
    count = table.rows.select(pl.len()).collect().item()
    if array.ndim != 2 or array.dtype.kind not in "fiu" or len(array) != count:
        raise TransferError(
            f"{path}: an array of {array.dtype} and shape {array.shape}; a matrix of numbers is needed, with "
            f"a row for each of the {count:,} rows of {table.path.name}"
        )
    place = _aligned(_in_files(ids, domain), rows)["row"]
    found = np.zeros((len(ids), array.shape[1]), np.float32)
    found[place.is_not_null().to_numpy()] = array[place.drop_nulls().to_numpy()]
    return found


def _in_files(ids: pl.Series, domain: Domain) -> pl.Series:
    """What the domain's files call these items."""
    if OWN not in domain.items.columns:
        return ids
    return ids.cast(pl.String).replace(dict(domain.items.select(pl.col("item").cast(pl.String), OWN).iter_rows()))


def _aligned(ids: pl.Series, table: pl.DataFrame) -> pl.DataFrame:
    """The first row of each item, in the order of ids, without the ids."""
    table = table.with_columns(pl.col("item").cast(ids.dtype, strict=False)).drop_nulls("item")
    table = table.unique("item", keep="first", maintain_order=True)
    return ids.to_frame("item").join(table, on="item", how="left", maintain_order="left").drop("item")


def _told(table: pl.DataFrame) -> pl.Series:
    """The cells of each row as one text; null where all are."""
    cells = pl.concat_str(pl.all().cast(pl.String), separator=" ", ignore_nulls=True)
    return table.select(text=pl.when(pl.any_horizontal(pl.all().is_not_null())).then(cells))["text"]


def _own_rows(columns: tuple[str, ...], domain: Domain, data_dir: Path) -> tuple[pl.DataFrame, Table]:
    """Ids, columns and the index of each `row` of a domain's own table of items."""
    table = item_table(domain.files, data_dir) if domain.files else None
    if table is None or domain.files is None:
        wanted = f"the column {columns[0]!r}" if columns else "its rows"
        raise TransferError(f"{domain.name}: no table of items that has {wanted}; name one with items: {{path: FILE}}")
    return _read(table, ids_of(table, domain.files), columns, f"`items.features` of {domain.name}"), table


def _of_file(place: Columns, domain: Domain, data_dir: Path) -> pl.DataFrame:
    """Ids of the domain's items and the columns of another file."""
    table = open_table(locate(place.path or "", data_dir, several=True), Dialect(of=PLACE, name=place.path or ""))
    if not place.columns:
        raise TransferError(f"{table.path}: which column? Write columns: COLUMN; it has {', '.join(table.schema)}")
    item = place.item or required(table, "item", None)
    rows = _read(table, item, place.columns, f"`texts` or `items.features` of {domain.name}").drop("row")
    if place.by == "title":
        own = domain.items.select("item", key=_keys(domain.items["title"])).drop_nulls("key")
        rows = rows.with_columns(item=_keys(rows["item"])).drop_nulls("item")
        rows = rows.unique("item", keep="first", maintain_order=True)
        return own.join(rows, left_on="key", right_on="item").drop("key")
    if place.links is None or place.link is None:
        return rows
    links = open_table(locate(place.links, data_dir, several=True), Dialect(of=PLACE, name=place.links))
    pairs = _read(links, next(iter(links.schema)), (place.link,), f"`links` of {domain.name}")
    pairs = pairs.select(own="item", item=pl.col("0").cast(pl.String))
    rows = rows.unique("item", keep="first", maintain_order=True)
    return pairs.join(rows, on="item", maintain_order="left").drop("item").rename({"own": "item"})


def _keys(titles: pl.Series) -> pl.Series:
    return pl.Series("key", [key_of(title) for title in titles], pl.String)


def _read(table: Table, item: str, columns: tuple[str, ...], what: str) -> pl.DataFrame:
    """The index of each `row`, its `item`, and the columns as 0, 1, … Raises TransferError for one that is not there."""
    plain = {TYPES.sub("", name): name for name in table.schema} | {name: name for name in table.schema}
    for name in (item, *columns):
        if name not in plain:
            names = ", ".join(table.schema)
            raise TransferError(f"{table.path}: no column {name!r}; its columns are {names}; correct {what}")
    ids = pl.col(plain[item]).cast(pl.String)
    return collect(table, {"item": ids, **{str(i): pl.col(plain[name]) for i, name in enumerate(columns)}})[0]

"""A table of labelled examples: which column is what, and its cells as labels, texts, numbers or images."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl

from transfer.config.labelled import ExampleFile
from transfer.data.examples.images import picture
from transfer.data.interactions.columns import TYPES, cell_of, named, number_of, text_of
from transfer.data.interactions.table import Table, collect, place_of, refuse
from transfer.data.labelled.found import Found, Labels, label_of, plain
from transfer.errors import TransferError
from transfer.storage.damaged import POLARS

# Names by which a column is recognised: lower case, letters and digits only; the first that is there wins.
LABEL = ("label", "labels", "class", "category", "categories", "genre", "genres", "sentiment", "target", "topic", "y")
TEXT = (
    *("text", "review", "reviewtext", "content", "body", "sentence", "document", "comment", "description", "summary"),
    *("overview", "plot", "abstract"),
)
IDS = ("", "id", "index", "row", "unnamed0", "rowid")  # numbers that are no features
SAMPLE = 100  # rows by which a column of a text file is taken for one of numbers
SHOWN = 8  # columns that are listed by name


def kind_of(table: Table, file: ExampleFile, wanted: str | None) -> str:
    """What a table's features are: text, images or vectors; of several what the target has, which is `wanted`.

    Raises TransferError, naming all columns, where there are none.
    """
    if file.text or file.image or file.x:
        return "text" if file.text else "images" if file.image else "vectors"
    if recognised(table, TEXT) and not (wanted == "vectors" and _vectors(table, file)):
        return "text"
    if _vectors(table, file):
        return "vectors"
    raise TransferError(
        f"{table.path}: no column is recognised as a text, and none has numbers; its columns are {_listed(table)}; "
        "name one with text: COLUMN, x: COLUMN or image: COLUMN, or set `separator`"
    )


def read_table(table: Table, file: ExampleFile, kind: str, keys: list[str], side: int, like: tuple[str, ...]) -> Found:
    """The examples of a table.

    kind: text, vectors or images. keys: columns that tell domains apart. side: of images, in pixels. like: the columns of
    numbers that the target's file has.
    Raises TransferError with the file, the line and what to write, at the first fault.
    """
    label = _label(table, file)
    of_list = label is not None and table.schema[label].is_nested()
    wanted: dict[str, pl.Expr] = {f"in {key}": cell_of(table, key) for key in keys}
    if label is not None:
        wanted["label"] = pl.col(label).cast(pl.List(pl.String)) if of_list else cell_of(table, label)
    taken = _features(table, file, kind, like)
    for i, column in enumerate(taken):
        nested = kind == "vectors" and table.schema[column].is_nested()
        numbers = number_of(table, column) if kind == "vectors" and not nested else None
        wanted[f"x{i}"] = pl.col(column) if nested else text_of(table, column) if numbers is None else numbers
    rows, _ = collect(table, wanted)
    labels = [None] * len(rows) if label is None else _labels(rows["label"], file.labels)
    found = Found(
        table.path,
        labels,
        place=lambda i: line_of(table, int(rows["row"][i])),
        several=of_list or file.labels is not None,
        columns={"text" if kind == "text" else "x" if kind == "vectors" else "image": _shown(taken)},
        keys={key: [cell and plain(cell) for cell in rows[f"in {key}"]] for key in keys},
        numbers=tuple(TYPES.sub("", name) for name in taken) if kind == "vectors" and len(taken) > 1 else (),
    )
    found.columns["label"] = "none" if label is None else label
    if kind == "text":
        told = pl.concat_str([pl.col(f"x{i}") for i in range(len(taken))], separator=" ", ignore_nulls=True)
        return replace(found, texts=rows.select(told.fill_null("")).to_series().to_list())
    if kind == "images":
        refuse(table, rows, taken[0], pl.col("x0").is_null(), f"no image ({taken[0]} is empty); remove the row")
        folder = table.path.parent
        return replace(found, arrays=np.stack([picture(folder, place, side) for place in rows["x0"]]))
    if table.schema[taken[0]].is_nested():
        return replace(found, arrays=_lists(table, rows, taken[0]))
    for i, column in enumerate(taken):
        bad = ~pl.col(f"x{i}").cast(pl.Float32).is_finite().fill_null(False)
        remedy = "correct it, remove the row, or name the columns with x: [COLUMN, COLUMN]"
        refuse(table, rows, column, bad, f"{column} CELL is not a finite number; {remedy}")
    return replace(found, arrays=rows.select(f"x{i}" for i in range(len(taken))).to_numpy().astype(np.float32))


def line_of(table: Table, row: int) -> str:
    """Where a row stands in its file: its line, in Parquet its number from 1."""
    return place_of(table, row).rpartition(", ")[2]


def recognised(table: Table, names: tuple[str, ...]) -> str | None:
    """The first column of these names."""
    plain = {_plain(column): column for column in reversed(list(table.schema))}
    return next((plain[name] for name in names if name in plain), None)


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", TYPES.sub("", column).lower())


def _label(table: Table, file: ExampleFile) -> str | None:
    """The column of the labels; None where the table has none."""
    column = named(table, file.label, f"label: {file.label}") if file.label else recognised(table, LABEL)
    used = {name for name, _ in file.where} | {file.each} | {*file.text, *file.x, file.image}
    return None if column in used and not file.label else column


def _features(table: Table, file: ExampleFile, kind: str, like: tuple[str, ...]) -> list[str]:
    """The columns that the features are made of."""
    if kind == "images":
        if not file.image:
            raise TransferError(
                f"{table.path}: which column names the images? It has {_listed(table)}; write image: COLUMN"
            )
        return [named(table, file.image, f"image: {file.image}")]
    given = file.text if kind == "text" else file.x
    if given:
        return [named(table, name, f"{'text' if kind == 'text' else 'x'}: {name}") for name in given]
    if kind == "text":
        if column := recognised(table, TEXT):
            return [column]
        raise TransferError(
            f"{table.path}: no column is recognised as the text; it has {_listed(table)}; write text: COLUMN in this domain"
        )
    found = _vectors(table, file)
    if not found:
        raise TransferError(f"{table.path}: no column has numbers; it has {_listed(table)}; write x: COLUMN in this domain")
    if like and not table.schema[found[0]].is_nested():
        return _as_in_the_target(table, found, like)
    return found


def _as_in_the_target(table: Table, found: list[str], like: tuple[str, ...]) -> list[str]:
    """The columns of numbers in the target's order. Raises TransferError where one side has others."""
    there = {TYPES.sub("", column): column for column in table.schema}
    names = {TYPES.sub("", column): column for column in found} | {name: there[name] for name in like if name in there}
    if missing := [name for name in like if name not in names]:
        raise TransferError(
            f"{table.path}: the target has the numbers {_shown(missing)}, which this file lacks; it has {_shown(names)}; "
            "name those that all domains have with x: [COLUMN, COLUMN]"
        )
    if more := [name for name in names if name not in like]:
        raise TransferError(
            f"{table.path}: it has the numbers {_shown(more)}, which the target lacks; name those that all domains have "
            "with x: [COLUMN, COLUMN]"
        )
    return [names[name] for name in like]


def _vectors(table: Table, file: ExampleFile) -> list[str]:
    """A column of lists of numbers, else all columns of numbers that are neither labels nor keys nor ids."""
    other = {_label(table, file), file.each, *(column for column, _ in file.where)}
    names = [name for name in table.schema if name not in other and TYPES.sub("", name) not in other]
    lists = [name for name in names if table.schema[name].is_nested() and _inner(table.schema[name]).is_numeric()]
    if lists:
        if len(lists) > 1:
            raise TransferError(f"{table.path}: several columns of lists: {_shown(lists)}; name one with x: COLUMN")
        return lists
    names = [name for name in names if _plain(name) not in IDS]
    numeric = [name for name in names if table.schema[name].is_numeric()]
    texts = [name for name in names if table.schema[name] == pl.String]
    if not texts:
        return numeric
    cells = {name: pl.col(name).str.strip_chars() for name in texts}
    try:
        first = table.rows.select(**cells).head(SAMPLE).collect()
    except POLARS:
        first = collect(table, cells)[0].select(texts).head(SAMPLE)  # it says what is wrong, and where
    as_numbers = first.select(pl.all().cast(pl.Float64, strict=False))
    # a column of numbers may have a faulty cell, which is then refused with its line
    filled = [name for name in texts if 2 * as_numbers[name].count() > first[name].replace("", None).count()]
    return [name for name in names if name in numeric or name in filled]


def _inner(kind: pl.DataType) -> pl.DataType:
    return getattr(kind, "inner", pl.Null())


def _labels(cells: pl.Series, separator: str | None) -> list[Labels]:
    """The classes of every example."""
    if cells.dtype == pl.String and separator is None:
        return [label_of(cell) for cell in cells]
    several = (cells if cells.dtype != pl.String else cells.str.split(separator or "")).to_list()
    made = [[one[0] for part in row or () if (one := label_of(part))] for row in several]
    return [tuple(dict.fromkeys(row)) or None for row in made]


def _lists(table: Table, rows: pl.DataFrame, column: str) -> np.ndarray:
    """Lists of one length as float32 [n, length]."""
    lists = rows.select("row", x=pl.col("x0").cast(pl.List(pl.Float32), strict=False))
    width = int(lists["x"].list.len()[0] or 0)
    fix = "correct it or remove the row"
    other = (pl.col("x").list.len() != width).fill_null(True)
    refuse(table, lists, column, other, f"{column} has not the {width} numbers of the first row; {fix}")
    bad = ~pl.col("x").list.eval(pl.element().is_finite().fill_null(False)).list.all()
    refuse(table, lists, column, bad, f"{column} has a number that is not finite; {fix}")
    return lists["x"].explode().to_numpy().reshape(len(lists), width)


def _listed(table: Table) -> str:
    return ", ".join(" ".join(name.split()) for name in table.schema)


def _shown(names: object) -> str:
    """Names, of many the first few."""
    listed = [TYPES.sub("", str(name)) for name in names]  # type: ignore[attr-defined]
    return ", ".join(listed[:SHOWN]) + (f" … ({len(listed)})" if len(listed) > SHOWN else "")

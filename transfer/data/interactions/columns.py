"""Which column of a table stands for what, and its content as text or numbers."""

from __future__ import annotations

import re
from typing import NoReturn

import polars as pl

from transfer.data.interactions.formats import GUESSED, looks_like_a_row, named_by_kind, to_write
from transfer.data.interactions.table import Table
from transfer.errors import TransferError, nearest

# Names by which a column is recognised: lower case, letters and digits only; the first that is there wins.
ALIASES = {
    "user": ("userid", "user", "reviewerid"),
    "item": ("itemid", "movieid", "bookid", "isbn", "parentasin", "asin", "item", "productid", "product"),
    "rating": ("rating", "bookrating", "overall", "stars", "score"),
    "time": ("timestamp", "time", "unixreviewtime", "datetime", "date", "dateadded", "reviewtime", "day"),
    "title": ("title", "booktitle", "movietitle"),
    "author": ("author", "authors", "bookauthor"),
    "year": ("year", "originalpublicationyear", "yearofpublication", "publicationyear", "releaseyear"),
    "genres": ("genres", "genre", "class", "categories"),
    # of logs of impressions
    "position": ("position", "rank", "slot"),
    "propensity": ("propensity", "propensityscore", "pscore"),
    "click": ("click", "clicked"),
    "purchase": ("purchase", "purchased", "bought"),
    "price": ("price",),
    "feedback": ("feedback", "liked"),
    "arm": ("arm", "policy", "variant"),
    "group": ("group", "segment"),
    "slate": ("slate", "slateid", "impressionid"),
}
TYPES = re.compile(r":(token|token_seq|float|float_seq)$")  # of RecBole headers


def required(table: Table, role: str, given: str | None, by: str = "") -> str:
    """The column of a role; `by` says which setting needs it. Raises TransferError, naming all columns, where it is not."""
    column = column_of(table, role, given)
    if column is None:
        problem = f"no column is recognised as the {role}" + (f", which {by} needs" if by else "")
        _no_column(table, problem, role, "COLUMN")
    return column


def column_of(table: Table, role: str, given: str | None) -> str | None:
    """The name that the file gives to a role's column: as given, or recognised; None where it has none."""
    names = list(table.schema)
    if given:
        return named(table, given, f"{role}: {given}")
    plain = [re.sub(r"[^a-z0-9]", "", TYPES.sub("", name).lower()) for name in names]
    return next((names[plain.index(alias)] for alias in ALIASES[role] if alias in plain), None)


def named(table: Table, given: str, setting: str) -> str:
    """The column of this name, with or without RecBole's type. Raises TransferError, naming all columns."""
    for name in table.schema:
        if given in (name, TYPES.sub("", name)):
            return name
    close = nearest(given, [TYPES.sub("", name) for name in table.schema]).removesuffix("?")
    _no_column(table, f"no column {given!r}{close}", setting)


def _no_column(table: Table, problem: str, setting: str, value: str | None = None) -> NoReturn:
    """Raise TransferError: what there is, and what to write: the column's name, or what the first line says is amiss."""
    names = [" ".join(TYPES.sub("", name).split()) for name in table.schema]
    remedy = f"correct `{setting}`" if value is None else f"name it: {to_write(table.dialect, **{setting: value})}"
    found = next((sign for sign in GUESSED if sign in "".join(table.schema)), None)
    if table.is_text and len(names) == 1 and found:
        remedy = f"set `separator` if that is several columns in one: {to_write(table.dialect, separator=found)}"
    elif _may_be_a_row(table, names):
        named = {"header": False, "columns": named_by_kind(names)}
        remedy = f"if its first line is a row and no header, {to_write(table.dialect, **named)}; else {remedy}"
    place = f"{table.parts[0].path}, line 1" if table.is_text else str(table.path)
    raise TransferError(f"{place}: {problem}; its columns are {', '.join(names) or 'none'}; {remedy}")


def _may_be_a_row(table: Table, names: list[str]) -> bool:
    """Whether a header has numbers in it, and no name that is known."""
    headed = table.is_text and table.dialect.has_header
    return headed and looks_like_a_row(names) and not any(column_of(table, role, None) for role in ALIASES)


def text_of(table: Table, column: str) -> pl.Expr:
    """A column as text: ids keep their zeros."""
    kind = table.schema[column]
    if kind == pl.List(pl.String):
        return pl.col(column).list.join("|")
    if kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return pl.col(column).cast(pl.String)
    raise TransferError(f"{table.path}: column {column} holds {kind}; store it as text or as whole numbers")


def cell_of(table: Table, column: str) -> pl.Expr:
    """A column as the text of its cells, without spaces around it; null where a cell is empty. Dates are ISO 8601."""
    kind = table.schema[column]
    if kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise TransferError(f"{table.path}: column {column} holds {kind}; store it as text, numbers or dates")
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def as_cell(table: Table, column: str, value: str) -> str:
    """A value as `cell_of` has it: 4 is 4.0 in a column of decimals."""
    kind = table.schema[column]
    number = pl.Series([value]).cast(kind, strict=False).cast(pl.String)[0] if kind.is_numeric() else None
    return number or value


def number_of(table: Table, column: str) -> pl.Expr:
    """A column as float64; null where a cell is no number."""
    kind = table.schema[column]
    if kind == pl.String:
        return pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    if kind.is_numeric() or kind == pl.Null:
        return pl.col(column).cast(pl.Float64)
    raise TransferError(f"{table.path}: column {column} holds {kind}; store it as numbers")

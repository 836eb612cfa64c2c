"""Files that may be damaged, or made to do harm: what a parser raises becomes one line, what it unpacks has a limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from transfer.errors import TransferError

LARGEST = 2**32  # bytes that a file may unpack to
ROWS = 50_000_000  # rows of a table of examples
POLARS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # what Polars raises; the latter is no Exception
SHOWN = 200  # characters of a parser's own words


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Whatever a parser raises within becomes a TransferError: the path, `what` it is not, and why, in one line.

    Parsers of other people raise anything for damaged bytes, so everything is caught; polars panics past Exception.
    """
    try:
        yield
    except TransferError as error:
        if str(path) in str(error):
            raise
        raise TransferError(f"{path}: {error}") from None
    except (Exception, pl.exceptions.PanicException) as error:
        why = " ".join(str(error).split())[:SHOWN] or type(error).__name__
        raise TransferError(f"{path}: not {what} ({why})") from None


def check_size(count: float, what: str, most: float | None = None) -> None:
    """Raise TransferError where a file would unpack to more than `most` (None: LARGEST)."""
    most = LARGEST if most is None else most
    if count > most:
        raise TransferError(f"it would unpack to {count:,.0f} {what}, and {most:,.0f} is the limit: not read")


def parquet(path: Path, columns: list[str]) -> pl.DataFrame:
    """Some columns of a Parquet file. Raises TransferError for one that cannot be read or unpacks beyond the limits.

    Rows are counted from the footer before anything is unpacked; a value that is stored once for many rows counts for each.
    """
    with reading(path, f"a Parquet file with the columns {', '.join(columns)}"):
        lazy = pl.scan_parquet(path, glob=False).select(columns)
        check_size(lazy.select(pl.len()).collect().item(), "rows", ROWS)
        table = lazy.collect()
        texts = [pl.col(name).str.len_bytes().sum() for name, kind in table.schema.items() if kind == pl.String]
        check_size(sum(table.select(texts).row(0)) if texts else 0, "bytes of text")
        return table


def csv(path: Path, columns: list[str]) -> pl.DataFrame:
    """Some columns of a CSV file. Raises TransferError for one that cannot be read."""
    with reading(path, f"a CSV file with the columns {', '.join(columns)}"):
        return pl.read_csv(path, columns=columns, glob=False)

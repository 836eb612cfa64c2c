"""Times of events: numbers in some unit since 1970, or dates; all become seconds since 1970, with their fractions."""

from __future__ import annotations

import polars as pl
from polars.exceptions import PolarsError

from transfer.data.interactions.table import Table
from transfer.errors import TransferError

# Above the number a time is in the next unit: 1e11 seconds are the year 5138, 1e11 milliseconds March 1973.
UNITS = {"milliseconds": (1e11, 1e3), "microseconds": (1e14, 1e6), "nanoseconds": (1e17, 1e9)}
LATEST = 1e20
DAY = r"^(?:19|20|21)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\.0+)?$"  # 20150614, which is no number of seconds

KNOWN = ("%a %b %d %H:%M:%S %z %Y", "%m %d, %Y")  # of Goodreads (date_added) and of Amazon (reviewTime)


def cells_of(table: Table, column: str) -> pl.Expr:
    """The column as it is read: text of a text file, and of Parquet numbers as text and moments as they are."""
    kind = table.schema[column]
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        return pl.col(column)
    if kind == pl.String or kind.is_numeric() or kind == pl.Null:
        return pl.col(column).cast(pl.String).str.strip_chars()
    raise TransferError(f"{table.path}: column {column} holds {kind}; store it as numbers or dates")


def seconds_of(cells: pl.Series, written: str | None) -> tuple[pl.Series, dict[str, int]]:
    """Seconds since 1970, float64 [n] (null where a cell is no time), and how many cells were in another unit.

    written: how dates are written, in the signs of strftime; None: numbers, ISO 8601, 20150614, or as in KNOWN.
    """
    if cells.dtype == pl.Date or isinstance(cells.dtype, pl.Datetime):
        return cells.dt.epoch("us").cast(pl.Float64) / 1e6, {}
    frame, cell = cells.to_frame("cell"), pl.col("cell")
    if written:
        return frame.select(_epoch(_dated(frame, cell, written))).to_series(), {}
    if not cells.null_count() and cells.str.contains(DAY).all():
        return frame.select(_epoch(cell.str.slice(0, 8).str.to_datetime("%Y%m%d", strict=False))).to_series(), {
            "dates": len(cells)
        }
    number = frame.select(cell.cast(pl.Float64, strict=False)).to_series()
    if not number.head(1).is_not_null().any():  # the first cell says what all have to be
        for known in KNOWN:
            if frame.head(1).select(_dated(frame, cell, known)).to_series().is_not_null().all():
                return frame.select(_epoch(_dated(frame, cell, known))).to_series(), {"dates": len(cells)}
        return frame.select(_epoch(_iso(cell))).to_series(), {"dates": len(cells)}
    number = number.to_frame("n").select(pl.when(pl.col("n").is_between(0, LATEST)).then("n")).to_series()
    value, notes = number, dict[str, int]()
    for unit, (above, per_second) in UNITS.items():
        of_unit = ((number > above) & (number <= above * 1e3)).fill_null(False)
        if count := int(of_unit.sum()):
            notes[unit] = count
            value = (number / per_second).zip_with(of_unit, value)
    return value, notes


def _dated(frame: pl.DataFrame, cell: pl.Expr, written: str) -> pl.Expr:
    moment = cell.str.to_datetime(written, strict=False, time_unit="us")
    try:
        frame.select(moment)
    except PolarsError as error:
        reason = str(error).splitlines()[0]
        raise TransferError(f"time_format={written!r} is not understood ({reason}); write it as in %d/%m/%Y") from None
    return moment


def _iso(cell: pl.Expr) -> pl.Expr:
    """ISO 8601: a day, perhaps with a time of day and an offset from UTC; without one it is UTC."""
    day = cell.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:$|[T ])")
    clock = cell.str.extract(r"^.{10}[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?) ?(?:Z|[+-]\d{2}:?\d{2})?$")
    offset = cell.str.extract(r"^.{10}[T ][\d:.]+ ?(Z|[+-]\d{2}:?\d{2})$").str.replace("Z", "+0000")
    alone = cell.str.len_chars() == 10
    clock = pl.when(alone).then(pl.lit("00:00:00")).otherwise(clock.str.replace(r"^(\d{2}:\d{2})$", "$1:00"))
    whole = pl.concat_str(day, pl.lit("T"), clock, offset.str.replace(":", "").fill_null("+0000"))
    return whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="us")


def _epoch(moment: pl.Expr) -> pl.Expr:
    return moment.dt.epoch("us").cast(pl.Float64) / 1e6

"""The schema of an impression log: a file and what its columns are called."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from transfer.config.frozen import Frozen
from transfer.config.parts import domain_name


class LogFile(Frozen):
    """Where a log is and what its columns are called (null: recognised); one row is one item shown to one reader.

    path: a file, a pattern of names for several, or a folder of Parquet files. propensity: the probability with which the
    item was shown there; slate: the rows with one value of it were shown together. name: what the log is called where it
    has no column `arm`. columns, header, separator, quoted, encoding: as those of `domain=files`.
    """

    path: str
    name: Annotated[str, AfterValidator(domain_name)] = ""
    user: str | None = None
    item: str | None = None
    position: str | None = None
    propensity: str | None = None
    click: str | None = None
    purchase: str | None = None
    price: str | None = None
    feedback: str | None = None
    arm: str | None = None
    group: str | None = None
    slate: str | None = None
    columns: tuple[str, ...] = ()
    header: bool | None = None
    separator: str | None = None
    quoted: bool | None = None
    encoding: str = "utf-8"

"""CSV: an entry is a file below FOLDER/csv, a line for each value, with stage `end` for what it ended with."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer.results.foreign_text import csv_cell
from transfer.results.trackers.entry import Entry, Facts, Writer

HEAD = ("name", "stage", "step", "metric", "value")
END = "end"


@contextmanager
def session(place: Path) -> Iterator[Callable[[Entry, bool], Writer | None]]:
    """Begin entries in `place`/csv."""

    def begin(entry: Entry, again: bool) -> Writer | None:
        path = place / "csv" / f"{entry.path}.csv"
        if path.exists() and not again:
            return None
        path.parent.mkdir(exist_ok=True)

        def write(stage: str, step: int | str, values: Facts) -> None:
            begins = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerows([HEAD] if begins else [])
                rows.writerows((_cell(entry.name), stage, step, name, _cell(value)) for name, value in values.items())

        return Writer(write, lambda summary: write(END, "", summary))

    yield begin


def _cell(value: Any) -> Any:
    return csv_cell(value) if isinstance(value, str) else value

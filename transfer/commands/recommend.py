"""transfer recommend RUN: books for readers of a finished run, or for new ones from what they tell.

usage: transfer recommend RUN --users U1,U2 [--k 10]
       transfer recommend RUN --out lists.parquet                                   everybody, as .csv or .parquet
       transfer recommend RUN --candidates stock.csv --out lists.csv                only those of a table user, item
       transfer recommend RUN --history '{"movies": ["m1", ["m2", 4.0]], "books": []}'
       transfer recommend RUN --history readers.jsonl --out lists.csv               a history a line, "user" names it
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transfer.data.interactions.candidates import is_table, read_candidates
from transfer.errors import TransferError
from transfer.experiment.export import load_predictor, load_with_data
from transfer.results.foreign_text import csv_cell, printable
from transfer.results.predictor import Recommendation
from transfer.storage.trees import TEMPORARY

SCHEMA = {"user": pl.String, "rank": pl.Int64, "item": pl.String, "title": pl.String, "score": pl.Float64}
SCORES, TOGETHER = 2**24, 4096  # scores and readers that are there at once, at most
Lists = dict[str, list[Recommendation]]


def main(words: list[str]) -> int:
    """Print lists for some readers, or write those of many to a file; the exit code."""
    asked = _arguments(words)
    if asked.k < 1:
        raise TransferError(f"--k {asked.k}: give a list length of 1 or more")
    if asked.users is None and asked.history is None and asked.out is None:
        raise TransferError(
            "name readers with --users U1,U2, tell of new ones with --history, or name a file for everybody's lists with "
            "--out lists.csv"
        )
    if asked.out is not None and asked.out.suffix not in (".csv", ".parquet"):
        raise TransferError(f"--out {asked.out}: give a name that ends in .csv or .parquet")
    by_reader = _by_reader(asked.candidates)
    only: dict[str, Any] = {
        "candidates": by_reader or ids_of_file(asked.candidates),
        "exclude": ids_of_file(asked.exclude) or (),
    }
    if by_reader and asked.history is not None:
        raise TransferError(f"--candidates {asked.candidates}: new readers have no lists of their own; give an id a line")
    lists: Iterator[Lists]
    if asked.history is not None:
        told = histories(asked.history)
        if not told:
            raise TransferError(f"--history {asked.history}: there is no reader in it")
        found = load_predictor(asked.run).recommend_new([history for _, history in told], asked.k, **only)
        lists = iter([dict(zip((name for name, _ in told), found, strict=True))])
    else:
        predictor = load_with_data(asked.run)
        some = asked.users or [user for user in predictor.loaded.users if by_reader is None or user in by_reader]
        if not some:
            raise TransferError(f"--candidates {asked.candidates}: none of its readers is one of this run")
        size = max(1, min(TOGETHER, SCORES // max(len(predictor.loaded.items), 1)))
        lists = (predictor.recommend(some[at : at + size], asked.k, **only) for at in range(0, len(some), size))
    if asked.out is None:
        show({f"for {user}": lines for part in lists for user, lines in part.items()})
    else:
        print(f"{write(lists, asked.out):,} lists of up to {asked.k} items written to {asked.out}")
    return 0


def histories(given: str) -> list[tuple[str, dict[str, Any]]]:
    """New readers: a name and what each has, {domain: [id or [id, rating], ...]}, from JSON or a file with one a line.

    Raises TransferError, with the line, for what is none.
    """
    if given.lstrip().startswith("{"):
        return [_history(given, "--history", "a new reader")]
    path = Path(given)
    if not path.is_file():
        raise TransferError(f"--history {given}: neither a JSON object nor a file with one on every line")
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    told = [_history(line, f"{path}, line {number}", f"line {number}") for number, line in lines if line.strip()]
    if len({name for name, _ in told}) < len(told):
        raise TransferError(f'{path}: two readers have one name; give each its own "user"')
    return told


def _history(text: str, where: str, name: str) -> tuple[str, dict[str, Any]]:
    try:
        told = json.loads(text)
    except ValueError as error:
        raise TransferError(f"{where}: no JSON ({error})") from None
    if not isinstance(told, dict):
        raise TransferError(f'{where}: write {{"movies": ["m1", ["m2", 4.0]]}}')
    user = str(told.pop("user", name))
    return user, {
        domain: [_event(event, where) for event in _list(events, domain, where)] for domain, events in told.items()
    }


def _list(events: Any, domain: str, where: str) -> list[Any]:
    if not isinstance(events, list):
        raise TransferError(f"{where}: {domain!r} has no list of items; write [id, [id, rating], ...]")
    return events


def _event(event: Any, where: str) -> str | tuple[str, float]:
    if isinstance(event, str):
        return event
    number = isinstance(event, list) and len(event) == 2 and isinstance(event[1], int | float)
    if number and isinstance(event[0], str) and not isinstance(event[1], bool):
        return event[0], float(event[1])
    raise TransferError(f'{where}: {json.dumps(event)} is no item; write "id" (with quotes) or ["id", rating]')


def write(parts: Iterable[Lists], out: Path) -> int:
    """Write lists as a table of user, rank, item, title, score, part after part as they are made, and put it in its place
    when it is whole: how many lists. Nothing is left where one of them cannot be made."""
    count = 0
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=TEMPORARY, dir=out.parent) as folder:
        whole = Path(folder) / out.name
        for number, part in enumerate(parts):
            rows = ({"user": user, **line._asdict()} for user, of in part.items() for line in of)
            table = pl.DataFrame(rows, schema=SCHEMA)
            if out.suffix == ".csv":
                texts = [pl.col(name).map_elements(csv_cell, return_dtype=pl.String) for name in ("user", "item", "title")]
                with whole.open("ab") as file:
                    table.with_columns(texts).write_csv(file, include_header=number == 0)
            else:
                table.write_parquet(Path(folder) / f"{number:09d}.part")
            count += len(part)
        if out.suffix == ".parquet":
            pl.scan_parquet(sorted(Path(folder).glob("*.part"))).sink_parquet(whole)
        whole.replace(out)
    return count


def show(lists: Lists) -> None:
    """Print lists under their titles."""
    for title, lines in lists.items():
        table = Table(title=Text(printable(title)), title_justify="left")
        for column in ("rank", "title", "id", "score"):
            table.add_column(column, justify="right" if column in ("rank", "score") else "left")
        for line in lines:
            names = (Text(printable(text)) for text in (line.title or "(no title known)", line.item))
            table.add_row(str(line.rank), *names, f"{line.score:.3f}")
        Console().print(table)


def _by_reader(path: Path | None) -> dict[str, list[str]] | None:
    """Candidates of each reader, from a table of user and item; None where the file is none."""
    if path is None or not path.is_file() or not is_table(path):
        return None
    rows = read_candidates(path).group_by("user", maintain_order=True).agg("item")
    return dict(zip(rows["user"], rows["item"].to_list(), strict=True))


def ids_of_file(path: Path | None) -> list[str] | None:
    """Ids of items, one a line."""
    if path is None:
        return None
    if not path.is_file():
        raise TransferError(f"{path}: no such file; give one with an id on every line")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "transfer recommend",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=argparse.SUPPRESS,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder that the run printed")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--users", type=lambda text: text.split(","), help="ids of readers, comma separated")
    who.add_argument("--history", help="new readers: a JSON object, or a file with one on every line")
    parser.add_argument("--k", type=int, default=10, help="length of the lists (default 10)")
    parser.add_argument(
        "--candidates", type=Path, metavar="FILE", help="the only items to recommend: an id a line, or a table user, item"
    )
    parser.add_argument("--exclude", type=Path, metavar="FILE", help="items to leave out: an id a line")
    parser.add_argument("--out", type=Path, help="write the lists to this .csv or .parquet file")
    return parser.parse_args(words)

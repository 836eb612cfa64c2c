"""Books for readers from a finished run: `python scripts/recommend.py RUN_DIR --users U1,U2 --k 10`; or what people who
loved a film read: `--explain`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transfer.errors import TransferError
from transfer.experiment import load_run
from transfer.results.explain import explain, find_films
from transfer.results.foreign_text import csv_cell, printable
from transfer.results.predictor import Predictor, Recommendation

SCHEMA = {"user": pl.String, "rank": pl.Int64, "item": pl.String, "title": pl.String, "score": pl.Float64}


def main() -> None:
    """Print lists for some users, or write those of all users to a CSV or Parquet file."""
    arguments = _arguments()
    try:
        if arguments.explain is not None:
            explain_run(arguments.run_dir, arguments.explain or None, arguments.k, arguments.least)
        else:
            recommend(arguments.run_dir, arguments.users, arguments.k, arguments.out)
    except TransferError as error:
        sys.exit(f"error: {printable(str(error))}")


def recommend(run_dir: Path, users: list[str] | None, k: int, out: Path | None) -> None:
    """Lists of the run in `run_dir`; without users those of everybody. Raises TransferError for unknown users or files."""
    if k < 1:
        raise TransferError(f"--k {k}: give a list length of 1 or more")
    if users is None and out is None:
        raise TransferError("name readers with --users U1,U2, or a file for everybody's lists with --out lists.csv")
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise TransferError(f"--out {out}: give a name that ends in .csv or .parquet")
    predictor = _load(run_dir)
    lists = predictor.recommend(users or predictor.loaded.users, k)
    if out is None:
        _print({f"for {user}": lines for user, lines in lists.items()})
        return
    rows = [{"user": user, **line._asdict()} for user, lines in lists.items() for line in lines]
    table = pl.DataFrame(rows, schema=SCHEMA)
    if out.suffix == ".csv":
        texts = [pl.col(name).map_elements(csv_cell, return_dtype=pl.String) for name in ("user", "item", "title")]
        table.with_columns(texts).write_csv(out)
    else:
        table.write_parquet(out)
    print(f"{len(lists):,} lists of up to {k} items written to {out}")


def explain_run(run_dir: Path, films: list[str] | None, k: int, least: int) -> None:
    """What those who loved a film read, by the run's own scores. Raises TransferError for unknown films."""
    predictor = _load(run_dir)
    chosen = find_films(predictor, films)
    lists = explain(predictor, chosen, k, least)
    if predictor.program.folds_in:
        print("score: of a reader who has seen that film alone, minus that of one who has seen nothing")
    else:
        print("score: mean of those who loved the film, minus that of all who have films")
    for film, lines in zip(chosen, lists, strict=True):
        _print({f"people who loved {film.title or film.item} ({film.lovers:,} of them) read": lines})


def _load(run_dir: Path) -> Predictor:
    predictor = load_run(run_dir).predictor
    if not isinstance(predictor, Predictor):
        raise TransferError(f"{run_dir} classifies examples and has no readers to recommend to")
    return predictor


def _print(lists: dict[str, list[Recommendation]]) -> None:
    for title, lines in lists.items():
        table = Table(title=Text(printable(title)), title_justify="left")
        for column in ("rank", "title", "id", "score"):
            table.add_column(column, justify="right" if column in ("rank", "score") else "left")
        for line in lines:
            names = (Text(printable(text)) for text in (line.title or "(no title known)", line.item))
            table.add_row(str(line.rank), *names, f"{line.score:.3f}")
        Console().print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path, help="the folder that the run printed")
    parser.add_argument("--users", type=lambda text: text.split(","), help="user ids, comma separated; default: all")
    parser.add_argument("--k", type=int, default=10, help="length of the lists (default 10)")
    parser.add_argument(
        "--explain",
        nargs="?",
        const="",
        type=lambda text: [word.strip() for word in text.split(",") if word.strip()],
        metavar="FILM,...",
        help="books that people who loved these films read: ids or parts of titles; default: the five best known",
    )
    parser.add_argument("--least", type=int, default=10, help="readers that an explaining book has (default 10)")
    parser.add_argument("--out", type=Path, help="write the lists to this .csv or .parquet file")
    return parser.parse_args()


if __name__ == "__main__":
    main()

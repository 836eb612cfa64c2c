"""transfer explain RUN ["rings, potter"]: what people who loved these films read, by the run's own scores."""

from __future__ import annotations

import argparse
from pathlib import Path

from transfer.commands.recommend import show
from transfer.experiment.export import load_with_data
from transfer.results.explain import explain, find_films


def main(words: list[str]) -> int:
    """Print the books of each film; the exit code."""
    parser = argparse.ArgumentParser("transfer explain", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder that the run printed")
    parser.add_argument("films", nargs="?", help="ids or parts of titles, comma separated; default: the five best known")
    parser.add_argument("--k", type=int, default=10, help="length of the lists (default 10)")
    parser.add_argument("--least", type=int, default=10, help="readers that an explaining book has (default 10)")
    asked = parser.parse_args(words)
    predictor = load_with_data(asked.run)
    films = [word.strip() for word in asked.films.split(",") if word.strip()] if asked.films else None
    chosen = find_films(predictor, films)
    lists = explain(predictor, chosen, asked.k, asked.least)
    if predictor.program.folds_in:
        print("score: of a reader who has seen that film alone, minus that of one who has seen nothing")
    else:
        print("score: mean of those who loved the film, minus that of all who have films")
    for film, lines in zip(chosen, lists, strict=True):
        show({f"people who loved {film.title or film.item} ({film.lovers:,} of them) read": lines})
    return 0

"""What a run found between the domains: for a film, the books that those who loved it are told and others are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transfer.errors import TransferError
from transfer.results.predictor import Predictor, Recommendation
from transfer.solvers.histories import user_counts


class Film(NamedTuple):
    """An item of the first source: its number, id and title (null where unknown), and who has it in training."""

    number: int
    item: str
    title: str | None
    lovers: int


def find_films(predictor: Predictor, words: Sequence[str] | None, count: int = 5) -> list[Film]:
    """Films by id or by a part of the title, the best known that has it; without words the `count` best known with titles.

    Raises TransferError for a word that fits none, and where no source is.
    """
    loaded = predictor.loaded
    if not loaded.world.sources:
        raise TransferError("this run had no source domain: there are no films to explain")
    lovers = np.asarray(loaded.world.sources[0].train.item_counts)
    ids, titles = loaded.source_items[0], loaded.source_titles[0]
    films = [Film(i, ids[i], titles.get(ids[i]), int(lovers[i])) for i in np.argsort(-lovers, kind="stable")]
    if words is None:
        return [film for film in films if film.title or not titles][:count]
    found = []
    for word in words:
        fitting = [f for f in films if f.item == word] or [f for f in films if word.lower() in (f.title or "").lower()]
        if not fitting:
            raise TransferError(f"{word!r} is neither the id nor a part of the title of any film; try {films[0].item}")
        found.append(fitting[0])
    return found


def explain(predictor: Predictor, films: Sequence[Film], k: int, least: int = 10) -> list[list[Recommendation]]:
    """For each film the k books, of those with a title and `least` readers in training, whose score it raises most.

    A method that reads histories when it scores is asked about a reader who has seen that film alone, against one who has
    seen nothing. Of others it is the mean score of those who loved the film, against that of all who have films.
    """
    loaded, program = predictor.loaded, predictor.program
    lift = _of_new_readers(predictor, films) if program.folds_in else _of_lovers(predictor, films)
    known = np.asarray(loaded.world.target.train.item_counts) >= least
    if loaded.titles:
        known &= np.array([item in loaded.titles for item in loaded.items])
    if not known.any():
        raise TransferError(f"no book with a title has {least} readers in training; give a smaller --least")
    lists = []
    for row in np.where(known[None, :], lift, -np.inf):
        best = [i for i in np.argsort(-row, kind="stable")[:k] if np.isfinite(row[i])]
        names = [loaded.items[i] for i in best]
        lines = zip(names, best, strict=True)
        lists.append(
            [Recommendation(n, name, loaded.titles.get(name), float(row[i])) for n, (name, i) in enumerate(lines, start=1)]
        )
    return lists


def _of_new_readers(predictor: Predictor, films: Sequence[Film]) -> NDArray[np.float32]:
    source = predictor.loaded.summary["sources"][0]["name"]
    table = predictor.score_new([{}, *({source: [film.item]} for film in films)])
    return table[1:] - table[:1]


def _of_lovers(predictor: Predictor, films: Sequence[Film]) -> NDArray[np.float32]:
    events = predictor.loaded.world.sources[0].train
    there = np.flatnonzero(np.asarray(user_counts(events)) > 0)
    table = predictor.score([predictor.loaded.users[u] for u in there])
    users, items = np.asarray(events.users), np.asarray(events.items)
    means = [table[np.isin(there, users[items == film.number])].mean(axis=0) for film in films]
    return np.stack(means) - table.mean(axis=0, keepdims=True)

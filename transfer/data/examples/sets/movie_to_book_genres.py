"""Movie overviews (TMDB) and book summaries (CMU) with the genres that both sides share, several per work.

A genre of one side may stand for several of the other; works without any shared genre are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, existing
from transfer.data.examples.sets.summaries import multi_hot, summaries
from transfer.storage.damaged import csv, reading

DOMAINS = ("movies", "books")
FEATURES = ("text", "tokens", "encoded")

# shared genre: (what TMDB calls it), (what the book summaries call it)
GENRES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "science fiction": (
        ("Science Fiction",),
        ("Science Fiction", "Hard science fiction", "Military science fiction", "Dystopia", "Steampunk"),
    ),
    "fantasy": (("Fantasy",), ("Fantasy", "High fantasy", "Urban fantasy", "Dark fantasy", "Sword and sorcery")),
    "family": (("Family",), ("Children's literature", "Picture book")),
    "mystery": (("Mystery",), ("Mystery", "Detective fiction", "Whodunit")),
    "crime": (("Crime",), ("Crime Fiction", "Detective fiction", "Hardboiled", "True crime")),
    "thriller": (("Thriller",), ("Thriller", "Suspense", "Techno-thriller", "Spy fiction")),
    "history": (("History",), ("Historical novel", "Historical fiction", "History")),
    "horror": (("Horror",), ("Horror", "Gothic fiction")),
    "romance": (("Romance",), ("Romance novel", "Paranormal romance")),
    "adventure": (("Adventure",), ("Adventure novel", "Adventure")),
    "comedy": (("Comedy",), ("Comedy", "Comic novel", "Satire", "Humour", "Black comedy")),
    "war": (("War",), ("War novel", "Military science fiction")),
}


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    side = DOMAINS.index(name)
    if side == 0:
        path = existing(data_dir / "movie-overviews" / "tmdb_movies.csv", "domain=movie_to_book_genres")
        table = csv(path, ["title", "genres", "overview"]).drop_nulls()
        with reading(path, "a list of movies"):
            texts = [f"{title} {overview}" for title, overview in table.select("title", "overview").iter_rows()]
            labels = table["genres"].str.split("|").to_list()
    else:
        path, texts, labels = summaries(data_dir, "movie_to_book_genres")
    y = multi_hot(labels, {genre: names[side] for genre, names in GENRES.items()})
    known = np.flatnonzero(y.any(1))
    texts = [texts[i] for i in known]
    return Raw(name, y[known], tuple(GENRES), np.zeros(len(known), bool), texts=texts, multi_label=True, path=path)

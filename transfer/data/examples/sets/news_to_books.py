"""News topics (AG News, four) and book summaries (CMU) with one genre each: two tasks with different labels.

What can transfer is the representation of text, not the classifier.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, existing, one_hot
from transfer.data.examples.sets.summaries import multi_hot, summaries
from transfer.storage.damaged import csv, reading

DOMAINS = ("news", "books")
FEATURES = ("text", "tokens", "encoded")
TOPICS = ("world", "sports", "business", "technology")
GENRES = {
    "science fiction": ("Science Fiction",),
    "fantasy": ("Fantasy",),
    "children": ("Children's literature",),
    "mystery": ("Mystery", "Detective fiction", "Crime Fiction"),
    "thriller": ("Thriller", "Suspense"),
    "history": ("Historical novel", "Historical fiction"),
    "horror": ("Horror",),
    "romance": ("Romance novel",),
}


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    """News from both of its files; of the books those that have exactly one of the genres."""
    if name == "news":
        paths = [existing(data_dir / "ag-news" / f"{part}.csv", "domain=news_to_books") for part in ("dev", "test")]
        tables = [csv(path, ["label", "content"]).drop_nulls() for path in paths]
        ys, texts = list[np.ndarray](), list[str]()
        for path, table in zip(paths, tables, strict=True):
            with reading(path, "a list of news with labels from 1 to 4"):
                ys.append(one_hot(table["label"].to_numpy() - 1, len(TOPICS)))
                texts += table["content"].cast(pl.String).to_list()
        return Raw(name, np.concatenate(ys), TOPICS, np.zeros(len(texts), bool), texts=texts)
    path, texts, labels = summaries(data_dir, "news_to_books")
    y = multi_hot(labels, GENRES)
    single = np.flatnonzero(y.sum(1) == 1)
    return Raw(name, y[single], tuple(GENRES), np.zeros(len(single), bool), texts=[texts[i] for i in single], path=path)

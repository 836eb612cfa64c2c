"""Amazon reviews of four kinds of products, positive or negative (Blitzer, Dredze, Pereira 2007).

Word counts (svmlight, and with autoencoders on them msda) are the 5,000-feature files with 2,000 training reviews per
domain; texts come from reviews.parquet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, check, existing, one_hot
from transfer.storage.damaged import parquet, reading

DOMAINS = ("books", "dvd", "electronics", "kitchen")
COUNTS = ("svmlight", "msda")
FEATURES = (*COUNTS, "text", "tokens", "encoded")
CLASSES = ("negative", "positive")
WORDS = 5000


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    folder = data_dir / "amazon-reviews"
    if settings.features not in COUNTS:
        path = existing(folder / "reviews.parquet", "domain=amazon_reviews")
        table = parquet(path, ["domain", "title", "text", "label"])
        with reading(path, "a table of reviews"):
            table = table.filter(pl.col("domain") == name)
            texts = [f"{title} {text}" for title, text in table.select("title", "text").fill_null("").iter_rows()]
            y = one_hot(table["label"].to_numpy(), 2)
        return Raw(name, y, CLASSES, np.zeros(len(texts), bool), texts=texts, path=path)
    from scipy import sparse
    from sklearn.datasets import load_svmlight_file

    parts = []
    for part in ("train", "test"):
        path = existing(folder / f"{name}_{part}.svmlight", "domain=amazon_reviews")
        with reading(path, f"an svmlight file with {WORDS:,} columns, counted from 0"):
            x, y = load_svmlight_file(str(path), n_features=WORDS, zero_based=True)
            y = one_hot(np.where(y == -1, 0, y), 2)  # negative is -1 in the files
            check(Raw(name, y, CLASSES, np.zeros(len(y), bool), counts=x, path=path))
            parts.append((x, y))
    counts = sparse.vstack([x for x, _ in parts]).tocsr()
    hidden = np.repeat([False, True], [x.shape[0] for x, _ in parts])
    return Raw(name, np.concatenate([y for _, y in parts]), CLASSES, hidden, counts=counts)

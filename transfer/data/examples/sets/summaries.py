"""Plot summaries of books with their genres (CMU Book Summary Corpus, Bamman and Smith 2013)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from transfer.data.examples.sets.raw import existing
from transfer.storage.damaged import parquet, reading


def summaries(data_dir: Path, domain: str) -> tuple[Path, list[str], list[list[str]]]:
    """The file, and text (title and summary) and genres of its books that have a summary and a genre."""
    path = existing(data_dir / "cmu-book-summaries" / "booksummaries.parquet", f"domain={domain}")
    table = parquet(path, ["title", "genres", "summary"]).drop_nulls(["summary", "genres"])
    with reading(path, "a table of books"):
        table = table.filter(pl.col("genres").list.len() > 0, pl.col("summary").str.strip_chars() != "")
        texts = [f"{title or ''} {summary}" for title, summary in table.select("title", "summary").iter_rows()]
        return path, texts, table["genres"].to_list()


def multi_hot(labels: list[list[str]], mapping: dict[str, tuple[str, ...]]) -> np.ndarray:
    """float32 [n, classes]: class c is 1 where one of an example's labels is among those that `mapping` gives to c."""
    y = [[bool(set(of_example) & set(names)) for names in mapping.values()] for of_example in labels]
    return np.array(y, np.float32).reshape(len(labels), len(mapping))

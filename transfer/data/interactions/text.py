"""Texts of items -> vectors that domains share: TF-IDF of hashed words, reduced by a truncated SVD. Host side.

The vectors come from words alone, so a film and a book that are told in the same words lie close to each other
(latent semantic analysis, Deerwester et al. 1990; hashing, Weinberger et al. 2009; randomised SVD, Halko et al. 2011).
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from transfer.config.domains import Files, Texts
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.read import locate
from transfer.errors import TransferError
from transfer.storage.damaged import POLARS

BUCKETS = 2**17
RAREST, COMMONEST = 2, 0.2  # a word counts if it is in at least 2 texts and in at most this share of one domain's
WORD = re.compile(r"[^\W\d_]{3,}")
SPARE, PASSES = 16, 4  # of the randomised SVD: extra directions, power iterations


def with_texts(domain: Domain, files: Files, data_dir: Path) -> Domain:
    """The domain with a column `text` in its item table: title, author, genres, and the texts that `files` names."""
    table = domain.items
    if table.is_empty():
        table = domain.events.select(pl.col("item").unique().sort()).with_columns(title=pl.lit(None, pl.String))
    for i, texts in enumerate(files.texts):
        found = _read(texts, data_dir).rename({"text": f"text {i}"})
        found = found.with_columns(pl.col("item").cast(table["item"].dtype, strict=False))
        table = table.join(found, on="item", how="left")
    parts = [name for name in table.columns if name in ("title", "author", "genres") or name.startswith("text")]
    return replace(domain, items=table.with_columns(text=pl.concat_str(parts, separator=" ", ignore_nulls=True)))


def _read(texts: Texts, data_dir: Path) -> pl.DataFrame:
    """Item ids and their texts from one file, through a table of links where ids differ: item, text."""
    table = _table(texts.path, [texts.item, *texts.columns], data_dir)
    text = pl.concat_str(list(texts.columns), separator=" ", ignore_nulls=True)
    table = table.select(item=texts.item, text=text).unique("item", keep="first", maintain_order=True)
    if texts.links is None or texts.link is None:
        return table
    links = _table(texts.links, [texts.link], data_dir)
    links = links.select(own=pl.col(links.columns[0]), item=pl.col(texts.link)).unique("own", keep="first")
    return links.join(table, on="item").select(item="own", text="text")


def _table(name: str, columns: list[str], data_dir: Path) -> pl.DataFrame:
    path = locate(name, data_dir)
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except POLARS as error:
        raise TransferError(f"{path}: {str(error).splitlines()[0]}; give a CSV or Parquet file of texts") from None
    if missing := [column for column in columns if column not in table.columns]:
        raise TransferError(
            f"{path}: no column {missing[0]!r}; its columns are {', '.join(table.columns)}; correct `texts` of the domain"
        )
    return table.cast(pl.String)


def vectors(texts: Sequence[Sequence[str | None]], dim: int) -> list[NDArray[np.float32]]:
    """A vector of length 1 for every text of every domain, float32 [items, dim]; zero for an item without words.

    Fitted on the texts that are given, so give those of training items. Each domain is centred, which takes away
    what tells films from books as such.
    """
    counts = [_word_counts(of_domain) for of_domain in texts]
    shares = [(c > 0).astype(np.float32).mean(axis=0) for c in counts]
    x = sparse.vstack(counts).tocsr()
    frequency = np.asarray((x > 0).sum(axis=0)).ravel()
    kept = (frequency >= RAREST) & (np.max(shares, axis=0) <= COMMONEST)
    if not kept.any():
        raise TransferError("no two items share a word in their titles and texts; set domain.text_dim=0 or give `texts`")
    x = x[:, kept]
    x.data = 1 + np.log(x.data)
    x = _unit(x @ sparse.diags_array((np.log(x.shape[0] / frequency[kept]) + 1).astype(np.float32)))
    reduced = _project(x, dim)
    starts = np.cumsum([0, *map(len, texts)])
    result = []
    for low, high in pairwise(starts):
        rows = reduced[low:high]
        told = np.linalg.norm(rows, axis=1) > 0
        centred = np.where(told[:, None], rows - rows[told].mean(axis=0) if told.any() else rows, 0)
        result.append((centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)).astype(np.float32))
    return result


def _word_counts(texts: Sequence[str | None]) -> sparse.csr_array:
    """How often each text has the words of each hash bucket: [texts, BUCKETS]. Letter case and a plural s are dropped."""
    buckets: dict[str, int] = {}
    rows, columns, values = [], [], []
    for row, text in enumerate(texts):
        words = Counter(word.removesuffix("s") for word in WORD.findall((text or "").lower()))
        for word, count in words.items():
            rows.append(row)
            columns.append(buckets.setdefault(word, zlib.crc32(word.encode()) % BUCKETS))
            values.append(count)
    return sparse.csr_array((np.array(values, np.float32), (rows, columns)), shape=(len(texts), BUCKETS))


def _unit(x: sparse.csr_array) -> sparse.csr_array:
    norm = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)).ravel())
    return (sparse.diags_array(1 / np.maximum(norm, 1e-9)).astype(np.float32) @ x).tocsr()


def _project(x: sparse.csr_array, dim: int) -> NDArray[np.float32]:
    """The rows of x on its first `dim` right singular vectors: U Σ, padded with zeros where the rank is lower."""
    width = min(dim + SPARE, *x.shape)
    q = np.random.default_rng(0).normal(size=(x.shape[1], width)).astype(np.float32)
    for _ in range(PASSES):
        q, _r = np.linalg.qr(x.T @ (x @ q))
    image = x @ q
    _, v = np.linalg.eigh(image.T @ image)
    reduced = image @ v[:, ::-1][:, : min(dim, width)]
    return np.pad(reduced, ((0, 0), (0, dim - reduced.shape[1])))

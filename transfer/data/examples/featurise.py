"""Features of texts, word counts and arrays, fitted on training examples only; costly ones are kept by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfer.config.domains import LabelledDomains
from transfer.data import cache
from transfer.data.examples.encoded import Encode, encoded
from transfer.data.examples.msda import stacked
from transfer.data.examples.sets.raw import Raw
from transfer.data.examples.tokens import tokenised
from transfer.errors import TransferError
from transfer.storage.damaged import reading
from transfer.storage.trees import load_arrays, load_facts, save_tree

WORDS = {"stop_words": "english", "strip_accents": "unicode", "dtype": np.float32}
FILE = "featuriser.safetensors"


@dataclass(frozen=True)
class Featuriser:
    """What it `reads` (texts, images, counts) and what was learnt from training examples.

    words: the columns of counts; idf [words]; mean and std [domains, ...] by domain, 0 the target. None: not used.
    """

    weighting: str
    reads: tuple[str, ...]
    words: tuple[str, ...] | None = None
    idf: np.ndarray | None = None
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def __call__(
        self, texts: Sequence[str] | None = None, images: np.ndarray | None = None, counts: Any = None
    ) -> np.ndarray:
        """Features float32 [n, ...] of raw target examples. Raises TransferError where they are not what it reads."""
        given = {"texts": texts, "images": images, "counts": counts}
        if {name for name, value in given.items() if value is not None} != set(self.reads):
            names = " and ".join(f"{name}=..." for name in self.reads).replace("images", "images (or vectors)")
            raise TransferError(f"examples of this run are given as {names}, as its domain's reader has them")
        return self.standardised(self.blocks(texts, counts, images), domain=0)

    def blocks(
        self, texts: Sequence[str] | None = None, counts: Any = None, arrays: np.ndarray | None = None
    ) -> np.ndarray:
        """Features float32 [n, ...] before standardisation: weighted words, arrays as they are, or both side by side."""
        if texts is not None and self.words is not None:
            counts = _vectoriser(vocabulary=list(self.words)).transform(texts)
        found = []
        if counts is not None:
            found.append(np.asarray(weighted(counts, self.weighting, self.idf).todense(), np.float32))
        if arrays is not None:
            found.append(arrays if not found else arrays.reshape(len(arrays), -1))
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def standardised(self, x: np.ndarray, domain: int) -> np.ndarray:
        if self.mean is None or self.std is None:
            return x
        return ((x - self.mean[domain]) / self.std[domain]).astype(np.float32)

    def save(self, path: Path, flush: bool = True) -> None:
        """Words and weighting as JSON beside the arrays of a safetensors file."""
        arrays = {name: value for name in ("idf", "mean", "std") if (value := getattr(self, name)) is not None}
        save_tree(path, arrays, {"weighting": self.weighting, "reads": self.reads, "words": self.words}, flush)


def read_featuriser(path: Path) -> Featuriser:
    """What `save` wrote. Raises TransferError where the file is not one."""
    facts, arrays = load_facts(path), load_arrays(path)
    with reading(path, "a featuriser that a run wrote"):
        words = None if facts["words"] is None else tuple(facts["words"])
        return Featuriser(facts["weighting"], tuple(facts["reads"]), words, **arrays)


def featurise(
    raws: list[Raw], fit: list[np.ndarray], domains: LabelledDomains, encode: Encode | None = None
) -> tuple[list[np.ndarray], Featuriser | None]:
    """Features float32 [n, ...] of the target and its sources; vocabulary, idf and statistics come from the `fit` rows.

    Texts become counts of the `domain.words` commonest words; counts are weighted by `domain.weighting`; arrays stay as
    they are, or are flattened and put beside the words where there are both. Last comes `domain.standardise`.
    With domain.features=tokens texts become token ids int32 [n, length], which nothing is fitted for; with encoded the
    vectors of a frozen network, `encode`; with msda weighted counts are followed by domain.layers layers of denoising
    autoencoders, which are not kept for new examples.
    """
    if domains.features == "tokens":
        return tokenised([raw.texts or [] for raw in raws], domains.tokenizer or "", domains.length), None
    if domains.features == "encoded":
        xs = encoded(raws, domains, encode)
        moments = _moments(xs, fit, domains.standardise)
        return [Featuriser("counts", (), None, None, *moments).standardised(x, i) for i, x in enumerate(xs)], None
    first, words, idf = raws[0], None, None
    counts = [raw.counts for raw in raws]
    if first.texts is not None:
        words, counts = _word_counts(raws, fit, domains.words)
    if counts[0] is not None and domains.weighting == "tfidf":
        training = [table[rows] for table, rows in zip(counts, fit, strict=True)]
        n, df = sum(table.shape[0] for table in training), sum((table > 0).sum(axis=0) for table in training)
        idf = np.asarray(np.log((1 + n) / (1 + np.asarray(df))) + 1, np.float32).ravel()
    given = {"texts": first.texts, "images": first.arrays, "counts": first.counts}
    reads = tuple(name for name, value in given.items() if value is not None)
    plain = Featuriser(domains.weighting, reads, words, idf)
    xs = [plain.blocks(None, table, raw.arrays) for table, raw in zip(counts, raws, strict=True)]
    _one_space(raws, xs)
    if domains.features == "msda":
        xs = stacked(xs, fit, domains.layers, domains.corruption)
    vectors = reads == ("images",) and xs[0].ndim == 2
    mean, std = _moments(xs, fit, domains.standardise, vectors)
    made = Featuriser(domains.weighting, reads, words, idf, mean, std)
    return [made.standardised(x, i) for i, x in enumerate(xs)], None if domains.features == "msda" else made


def _one_space(raws: list[Raw], xs: list[np.ndarray]) -> None:
    """Raise TransferError, naming both domains, where inputs have different shapes."""
    for raw, x in zip(raws, xs, strict=True):
        if x.shape[1:] != xs[0].shape[1:]:
            places = [f"{one.path or one.name} has {list(of.shape[1:])}" for one, of in ((raws[0], xs[0]), (raw, x))]
            raise TransferError(
                f"inputs of different shapes: {' and '.join(places)}; give all domains the same features, in one order"
            )


def weighted(counts: Any, weighting: str, idf: np.ndarray | None) -> Any:
    """counts as they are; binary; frequencies = count / sum of the row; tfidf = (1 + log count) · idf, rows of length 1."""
    from sklearn.preprocessing import normalize

    if weighting == "counts":
        return counts
    if weighting == "binary":
        return (counts > 0).astype(np.float32)
    if weighting == "frequencies":
        return normalize(counts, "l1")
    logs = counts.astype(np.float32).tocsr(copy=True)
    logs.data = np.log(logs.data) + 1
    return normalize(logs.multiply(idf[None, :]).tocsr(), "l2")  # type: ignore[index]


def _vectoriser(**how: Any) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(**WORDS, **how)


def _word_counts(raws: list[Raw], fit: list[np.ndarray], words: int) -> tuple[tuple[str, ...], list[Any]]:
    """The commonest words of the training texts, English stop words left out, and their counts in all texts."""
    texts = [raw.texts or [] for raw in raws]
    from scipy import sparse

    paths = cache.places(f"counts-4 {words}".encode() + b"".join(rows.tobytes() for rows in fit), texts)
    parts, found = ("data", "indices", "indptr"), []
    for path, of_domain in zip(paths, texts, strict=True):
        if (known := cache.kept(path, *parts)) is None:
            break
        arrays, facts = known
        columns = tuple(facts["columns"])
        found.append(sparse.csr_matrix(tuple(arrays[part] for part in parts), (len(of_domain), len(columns))))
    else:
        return columns, found
    vectoriser = _vectoriser(max_features=words)
    try:
        vectoriser.fit([of_domain[i] for of_domain, rows in zip(texts, fit, strict=True) for i in rows])
    except ValueError as error:
        raise TransferError(f"the texts of {raws[0].path or raws[0].name} give no features: {error}") from None
    counts = [vectoriser.transform(of_domain) for of_domain in texts]
    columns = tuple(map(str, vectoriser.get_feature_names_out()))
    for path, table in zip(paths, counts, strict=True):
        cache.keep(path, {part: getattr(table, part) for part in parts}, {"columns": columns})
    return columns, counts


def _moments(
    xs: list[np.ndarray], fit: list[np.ndarray], how: str, vectors: bool = False
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean and std of every column, [domains, ...]: of the domain's own training rows, or of the sources' for all; with
    none nothing, and with auto the sources' of `vectors` alone. Columns that do not vary count as if their std were 1."""
    if how == "auto":
        how = "source" if vectors else "none"
    if how == "none":
        return None, None
    own = [x[rows] for x, rows in zip(xs, fit, strict=True)]
    if how == "source":
        own = [np.concatenate(own[1:] or own)] * len(xs)
    std = np.stack([x.std(0) for x in own])
    return np.stack([x.mean(0) for x in own]), np.where(std > 1e-8, std, 1.0).astype(np.float32)

"""Features of texts, word counts and arrays, fitted on training examples only; costly ones are kept by content."""

from __future__ import annotations

from typing import Any

import numpy as np

from transfer.data import cache
from transfer.data.sets.raw import Raw
from transfer.data.tokens import tokenised
from transfer.domains import ExampleDomains
from transfer.errors import TransferError


def featurise(raws: list[Raw], fit: list[np.ndarray], domains: ExampleDomains) -> list[np.ndarray]:
    """Features float32 [n, ...] of the target and its sources; vocabulary, idf and statistics come from the `fit` rows.

    Texts become counts of the `domain.words` commonest words; counts are weighted by `domain.weighting`; arrays stay as
    they are, or are flattened and put beside the words where there are both. Last comes `domain.standardise`.
    With domain.features=tokens texts become token ids int32 [n, length], which nothing is fitted for.
    """
    if domains.features == "tokens":
        return tokenised([raw.texts or [] for raw in raws], domains)
    blocks = [[] for _ in raws]  # type: list[list[np.ndarray]]
    counts = [raw.counts for raw in raws] if raws[0].texts is None else _word_counts(raws, fit, domains.words)
    if counts[0] is not None:
        for block, table in zip(blocks, _weighted(counts, fit, domains.weighting), strict=True):
            block.append(np.asarray(table.todense(), np.float32))
    if raws[0].arrays is not None:
        for block, raw in zip(blocks, raws, strict=True):
            block.append(raw.arrays if not block else raw.arrays.reshape(len(raw.y), -1))  # type: ignore[arg-type,union-attr]
    xs = [block[0] if len(block) == 1 else np.concatenate(block, axis=1) for block in blocks]
    shapes = {x.shape[1:] for x in xs}
    if len(shapes) > 1:
        raise TransferError(
            f"the domains have inputs of different shapes, {sorted(shapes)}: there is no common input space"
        )
    return _standardised(xs, fit, domains.standardise)


def _word_counts(raws: list[Raw], fit: list[np.ndarray], words: int) -> list[Any]:
    """Counts of the commonest words of the training texts, English stop words left out."""
    texts = [raw.texts or [] for raw in raws]
    from scipy import sparse

    paths = cache.places(f"counts-1 {words}".encode() + b"".join(rows.tobytes() for rows in fit), texts)
    if all(path.exists() for path in paths):
        return [sparse.load_npz(path) for path in paths]  # arrays only: scipy refuses pickled ones
    from sklearn.feature_extraction.text import CountVectorizer

    vectoriser = CountVectorizer(max_features=words, stop_words="english", strip_accents="unicode", dtype=np.float32)
    vectoriser.fit([of_domain[i] for of_domain, rows in zip(texts, fit, strict=True) for i in rows])
    counts = [vectoriser.transform(of_domain) for of_domain in texts]
    for path, table in zip(paths, counts, strict=True):
        cache.keep(path, lambda temporary, table=table: sparse.save_npz(temporary, table))  # type: ignore[misc]
    return counts


def _weighted(counts: list[Any], fit: list[np.ndarray], weighting: str) -> list[Any]:
    """counts as they are; binary; frequencies = count / sum of the row.

    tfidf = (1 + log count) · idf, rows of length 1, idf over all training rows.
    """
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import normalize

    if weighting == "counts":
        return counts
    if weighting == "binary":
        return [(table > 0).astype(np.float32) for table in counts]
    if weighting == "frequencies":
        return [normalize(table, "l1") for table in counts]
    training = sparse.vstack([table[rows] for table, rows in zip(counts, fit, strict=True)])
    transformer = TfidfTransformer(sublinear_tf=True).fit(training)
    return [transformer.transform(table) for table in counts]


def _standardised(xs: list[np.ndarray], fit: list[np.ndarray], how: str) -> list[np.ndarray]:
    """(x - mean) / std by column: of the domain's own training rows, or of the sources' for all; constant columns are 0."""
    if how == "none":
        return xs
    own = [x[rows] for x, rows in zip(xs, fit, strict=True)]
    if how == "source":
        own = [np.concatenate(own[1:] or own)] * len(xs)
    return [_z(x, of.mean(0), of.std(0)) for x, of in zip(xs, own, strict=True)]


def _z(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return ((x - mean) / np.where(std > 1e-8, std, 1.0)).astype(np.float32)

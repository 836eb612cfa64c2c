"""Texts of items -> vectors that domains share: TF-IDF of hashed words, reduced by a truncated SVD. Host side.

The vectors come from words alone, so a film and a book that are told in the same words lie close to each other
(latent semantic analysis, Deerwester et al. 1990; hashing, Weinberger et al. 2009; randomised SVD, Halko et al. 2011).
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from transfer.data.features.spaces import RAREST, Rows, centred, parted, project
from transfer.errors import TransferError

BUCKETS = 2**17
COMMONEST = 0.2  # a word counts if it is in at least RAREST texts and in at most this share of one domain's
WORD = re.compile(r"[^\W\d_]{3,}")


def vectors(texts: Sequence[Sequence[str | None]], dim: int) -> list[Rows]:
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
    return centred(parted(project(x, dim), list(map(len, texts))))


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

"""Item texts: read and joined, made vectors that domains share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from transfer.config.domains import Files
from transfer.config.features import Texts
from transfer.data.features.columns import texts_of
from transfer.data.features.words import vectors
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.errors import TransferError


def films(items: list[tuple[str, str | None]], *texts: Texts) -> Domain:
    events = pl.DataFrame([("u", item, 1.0, None) for item, _ in items], EVENTS, orient="row")
    table = pl.DataFrame(items, {"item": pl.String, "title": pl.String}, orient="row")
    return Domain("films", events, table, files=Files(path="x", texts=texts))


def told(domain: Domain, folder: Path) -> dict[str, str | None]:
    ids = domain.items["item"]
    return dict(zip(ids, texts_of(None, domain, ids, folder), strict=True))


def test_texts_are_joined_through_a_table_of_links(tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text('id,plot\n77,"a heist, at sea"\n88,unknown\n')
    (tmp_path / "links.csv").write_text("film,other\n1,77\n2,\n3,88\n")
    texts = Texts(path="plots.csv", item="id", columns=("plot",), links="links.csv", link="other")
    found = told(films([("1", "Calm"), ("2", "Storm"), ("4", None)], texts), tmp_path)
    assert found == {"1": "Calm a heist, at sea", "2": "Storm", "4": None}


def test_texts_are_joined_by_title(tmp_path: Path) -> None:
    """Series in brackets, subtitle, case, accents and a leading article do not tell works apart; the first row is taken."""
    plots = {"name": ["Les miserables", "A Calm", "calm: a novel", "Storm"], "plot": ["bread", "sea", "lake", "wind"]}
    pl.DataFrame(plots).write_parquet(tmp_path / "plots.parquet")
    texts = Texts(path="plots.parquet", item="name", columns=("plot",), by="title")
    titled = [("1", "The Calm (Seas, #1)"), ("2", "Les Misérables"), ("3", "Other"), ("4", None)]
    found = told(films(titled, texts), tmp_path)
    assert found == {"1": "The Calm (Seas, #1) sea", "2": "Les Misérables bread", "3": "Other", "4": None}


def test_a_wrong_column_of_texts_is_named(tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text("id,plot\n77,x\n")
    texts = Texts(path="plots.csv", item="key", columns=("plot",))
    with pytest.raises(TransferError, match=r"plots\.csv: no column 'key'; its columns are id, plot"):
        told(films([("1", None)], texts), tmp_path)


WORDS = [f"{first}{second}{third}" for first in "bdkm" for second in "aeio" for third in ("ra", "lo", "ni")]


def random_texts(seed: int, count: int) -> list[str | None]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(1, 6))) for _ in range(count)]


def test_vectors_at_full_rank_have_the_cosines_of_tf_idf() -> None:
    """Against scikit-learn's TF-IDF of both domains together, each domain centred afterwards."""
    texts = [random_texts(0, 90), random_texts(1, 70)]
    tfidf = TfidfVectorizer(sublinear_tf=True, smooth_idf=False, min_df=2).fit_transform([t for d in texts for t in d])
    expected = []
    for rows in (tfidf[:90].toarray(), tfidf[90:].toarray()):
        centred = rows - rows.mean(0)
        expected.append(centred / np.linalg.norm(centred, axis=1, keepdims=True))
    ours = vectors(texts, 60)
    for one in (0, 1):
        for other in (0, 1):
            np.testing.assert_allclose(ours[one] @ ours[other].T, expected[one] @ expected[other].T, atol=1e-3)


def test_few_dimensions_keep_the_topics_and_join_the_domains() -> None:
    """Two topics with words of their own, in both domains: one direction tells them apart, here as there."""
    random = np.random.default_rng(0)
    topic = random.integers(0, 2, (2, 300))
    texts = [[" ".join(random.choice(WORDS[24 * t : 24 * t + 24], size=6)) for t in of_domain] for of_domain in topic]
    films, books = vectors(texts, 1)
    closeness = films @ books.T
    same = topic[0][:, None] == topic[1][None, :]
    assert (closeness[same] > 0).mean() > 0.95
    assert (closeness[~same] < 0).mean() > 0.95


def test_an_item_without_words_has_no_vector() -> None:
    (ours,) = vectors([[*random_texts(0, 50), None, "12 of"]], 8)
    np.testing.assert_array_equal(ours[-2:], 0)
    np.testing.assert_allclose(np.linalg.norm(ours[:-2], axis=1), 1, atol=1e-5)

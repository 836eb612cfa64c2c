"""Item texts: read and joined, made vectors that domains share; new readers of few events; what text_bridge carries."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
import pytest
from planted import RANKING
from sklearn.feature_extraction.text import TfidfVectorizer

from transfer.api import compose
from transfer.config.domains import Files, Split, Texts
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.split import split
from transfer.data.interactions.text import vectors, with_texts
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.experiment.build import load_world


def domain(items: list[tuple[str, str | None]]) -> Domain:
    events = pl.DataFrame([("u", item, 1.0, None) for item, _ in items], EVENTS, orient="row")
    return Domain("films", events, pl.DataFrame(items, {"item": pl.String, "title": pl.String}, orient="row"))


def test_texts_are_joined_through_a_table_of_links(tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text('id,plot\n77,"a heist, at sea"\n88,unknown\n')
    (tmp_path / "links.csv").write_text("film,other\n1,77\n2,\n3,88\n")
    texts = Texts(path="plots.csv", item="id", columns=("plot",), links="links.csv", link="other")
    told = with_texts(domain([("1", "Calm"), ("2", "Storm"), ("4", None)]), Files(path="x", texts=(texts,)), tmp_path)
    assert dict(told.items.select("item", "text").iter_rows()) == {"1": "Calm a heist, at sea", "2": "Storm", "4": ""}


def test_a_wrong_column_of_texts_is_named(tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text("id,plot\n77,x\n")
    files = Files(path="x", texts=(Texts(path="plots.csv", item="key", columns=("plot",)),))
    with pytest.raises(TransferError, match=r"plots\.csv: no column 'key'; its columns are id, plot"):
        with_texts(domain([("1", None)]), files, tmp_path)


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


def library(readers: int, each: int) -> Domain:
    random = np.random.default_rng(0)
    rows = [(f"u{u:03}", f"b{i}", 5.0, None) for u in range(readers) for i in random.permutation(30)[:each]]
    return Domain("books", pl.DataFrame(rows, EVENTS, orient="row"), pl.DataFrame(schema={"item": pl.String}))


def test_few_shot_leaves_new_readers_exactly_so_many_events() -> None:
    books, kept = library(100, 12), {}
    for keep in (0, 1, 3):
        parts = split(books, [], Split(name="few_shot", seed=0, stop=0.1, keep=keep, beta=0.3, valid=0.2), Path())
        counts = dict(parts.train.group_by("user").len().iter_rows())
        hidden = {name: set(getattr(parts, name)["user"]) for name in ("valid", "test")}
        assert not hidden["valid"] & hidden["test"]
        assert 15 <= len(hidden["test"]) <= 45
        assert 8 <= len(hidden["valid"]) <= 35
        assert all(counts.get(user, 0) == keep for user in hidden["valid"] | hidden["test"])
        assert all(counts[user] == 12 for user in set(books.events["user"]) - hidden["valid"] - hidden["test"])
        assert len(parts.train) + len(parts.valid) + len(parts.test) == len(books.events)
        new = hidden["test"]
        kept[keep] = {row for row in parts.train.select("user", "item").iter_rows() if row[0] in new}
    assert kept[0] == set() < kept[1] < kept[3]


BRIDGE = ("domain.users=400", "domain.shared=0", "domain.text_dim=16", "domain.source_events=30", "domain.target_events=8")


def shelf(name: str, readers: int, items: int, events: int, shift: int, folder: Path) -> str:
    """Items of eight topics, told in words of their own; every reader likes one of four even topics t, and t + shift."""
    random = np.random.default_rng(len(name))
    words = [f"{first}{second}" for first in ("fa", "gu", "ho", "ji", "ke", "lo", "ma", "ni") for second in WORDS[:6]]
    topic = np.arange(items) % 8
    titles = [" ".join(random.permutation(words[6 * t : 6 * t + 6])[:4]) for t in topic]
    pl.DataFrame({"item_id": [f"{name}{i}" for i in range(items)], "title": titles}).write_csv(folder / f"{name}-items.csv")
    rows = []
    for reader in range(readers):
        first = 2 * int(random.integers(4))
        liked = np.flatnonzero((topic == first) | (topic == (first + shift) % 8))
        rows += [(f"reader{reader}", f"{name}{i}") for i in random.permutation(liked)[:events]]
    pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row").write_csv(folder / f"{name}.csv")
    return f"{{path: {name}.csv, items: {name}-items.csv}}"


@cache
def bridged(shift: int) -> tuple[Result, Result]:
    """text_bridge with the source and without it (weight 0), in a target where almost all readers have one event.

    There who likes topic t likes t + 1, which the texts as such do not say; in the source t and t + shift go together.
    """
    folder = Path(mkdtemp(prefix="bridge-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target, source = shelf("book", 400, 80, 3, 1, folder), shelf("movie", 300, 160, 12, shift, folder)
    domain = ("domain=files", f"data_dir={folder}", f"domain.target={target}", f"domain.source={source}")
    few = ("split=few_shot", "split.keep=1", "split.beta=0.79", "split.valid=0.2", "domain.same_users=false")
    budget = ("train.epochs=160", "train.evaluate_every=40", "train.batch_size=512", "train.progress=false")
    base = [*domain, *few, *RANKING, *budget, "domain.text_dim=16", "method=text_bridge", "hp.l2=100"]
    carried, alone = run_batch([compose([*base, f"hp.source_weight={weight}"]) for weight in (1, 0)])
    return carried, alone


def test_text_bridge_carries_what_goes_together_and_with_weight_only() -> None:
    """A source with the target's rule helps, one with another rule misleads, and without weight neither is heard."""

    def of(result: Result) -> float:
        return result.metrics["test"]["ndcg@10"]

    (same, alone), (other, deaf) = bridged(1), bridged(3)
    assert of(same) > of(alone) + 0.005, f"{of(same):.3f} with the source, {of(alone):.3f} without"
    assert of(other) < of(alone) - 0.02, f"{of(other):.3f} with a source of another rule, {of(alone):.3f} without"
    assert abs(of(deaf) - of(alone)) < 0.01
    books, films = (np.abs(alone.parameters["texts"]["domains"][n]["out"]).max() for n in (0, 1))
    assert films < books / 10, "the source's own offsets stay where they began"


def test_text_bridge_needs_texts() -> None:
    with pytest.raises(TransferError, match=r"method=text_bridge needs vectors of the items' texts.*domain\.text_dim=128"):
        run_batch([compose([*RANKING, "domain.users=100", "method=text_bridge"])])


def test_worlds_hold_a_vector_for_every_training_item() -> None:
    loaded = load_world(compose([*RANKING, *BRIDGE, "split=ratio"]))
    for side in (loaded.world.target, *loaded.world.sources):
        assert side.text is not None
        assert side.text.shape == (side.train.n_items, 16)
        np.testing.assert_allclose(np.linalg.norm(side.text, axis=1), 1, atol=1e-4)

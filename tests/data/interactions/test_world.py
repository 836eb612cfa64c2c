"""The world: nothing hidden reaches a training array, filters see training only, arrays hold the events they stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest
from conftest import small_world

import transfer.data.interactions.events as events_module
from transfer.config.splits import Split
from transfer.data.interactions.build import build_world
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.events import Heldout, Interactions
from transfer.data.interactions.likes import with_likes
from transfer.data.interactions.parts import Parts
from transfer.data.interactions.split import split
from transfer.data.interactions.world import Loaded
from transfer.errors import TransferError

Triple = tuple[str, str, float]
SPLITS: dict[str, dict[str, Any]] = {
    "cold_start": {"beta": 0.3, "valid": 0.2},
    "ratio": {"valid": 0.2, "test": 0.2},
    "leave_one_out": {},
    "global_time": {"valid": 0.1, "test": 0.1},
    "files": {},
}


def domain(name: str, rows: list[tuple[Any, ...]], **facts: Any) -> Domain:
    facts = {"scale": (1.0, 5.0), "positive": 4.0, **facts}
    table = pl.DataFrame([("b1", "One"), ("b2", None)], {"item": pl.String, "title": pl.String}, orient="row")
    return Domain(name, pl.DataFrame(rows, EVENTS, orient="row"), table, **facts)


def random_domain(name: str, seed: int, users: int = 30, **facts: Any) -> Domain:
    random = Random(f"{name} {seed}")
    chosen = [(u, i) for u in range(users) for i in random.sample(range(12), random.randint(4, 10))]
    return domain(
        name, [(f"u{u}", f"{name[0]}{i}", random.randint(1, 5), random.randrange(10**6)) for u, i in chosen], **facts
    )


def divide(target: Domain, sources: list[Domain], name: str, folder: Path, seed: int = 0) -> Parts:
    """The parts by any rule; `files` takes the ratio split of the first source, written to files."""
    if name == "files":
        ratio = divide(target, sources, "ratio", folder, seed)
        marked = {"source_train": ~pl.col("stop"), "source_valid": pl.col("stop")}
        frames = {"target_train": ratio.train, "target_valid": ratio.valid, "target_test": ratio.test}
        for part, frame in (frames | {key: ratio.sources[0].filter(mark) for key, mark in marked.items()}).items():
            frame.select(list(EVENTS)).rename({"user": "user_id", "item": "item_id"}).write_parquet(
                folder / f"{part}.parquet"
            )
        sources = sources[:1]
    settings = {"name": name, "seed": seed, "stop": 0.2, **SPLITS[name]} | ({"dir": str(folder)} if name == "files" else {})
    return split(target, sources, Split(**settings), folder)


def triples(frame: pl.DataFrame) -> set[Triple]:
    return set(frame.select("user", "item", "rating").iter_rows())


def of_interactions(events: Interactions, users: list[str], items: list[str]) -> set[Triple]:
    columns = zip(*(np.asarray(part).tolist() for part in (events.users, events.items, events.ratings)), strict=True)
    found = {(users[u], items[i], r) for u, i, r in columns}
    assert len(found) == events.users.shape[0]
    return found


def of_heldout(part: Heldout, users: list[str], items: list[str]) -> tuple[set[Triple], set[tuple[str, str]]]:
    """Hidden events and what is masked, read back from the chunks."""
    hidden, seen = set(), set()
    width = part.users.shape[1]
    for chunk in range(part.users.shape[0]):
        people = np.asarray(part.users[chunk])
        rows = (np.asarray(column[chunk]) for column in (part.row, part.item, part.rating))
        hidden |= {(users[people[r]], items[i], float(x)) for r, i, x in zip(*rows, strict=True) if r < width}
        rows = (np.asarray(column[chunk]) for column in (part.seen_row, part.seen_item))
        seen |= {(users[people[r]], items[i]) for r, i in zip(*rows, strict=True) if r < width}
    assert int(np.sum(np.asarray(part.row) < width)) == len(hidden) == part.n_events
    return hidden, seen


def ids(events: pl.DataFrame) -> list[str]:
    return events["item"].unique().sort().to_list()


def positive_ones(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("rating") >= 4).with_columns(rating=pl.lit(1.0, pl.Float32))


def leaves(loaded: Loaded, hidden: bool) -> list[np.ndarray]:
    """The arrays of training, or all of them."""
    world = loaded.world
    return [np.asarray(leaf) for leaf in jax.tree.leaves(world if hidden else (world.target, world.sources))]


def assert_equal(once: list[np.ndarray], again: list[np.ndarray]) -> None:
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("positives", [False, True])
@pytest.mark.parametrize("name", SPLITS)
def test_arrays_are_the_training_events_and_no_hidden_one(name: str, positives: bool, tmp_path: Path) -> None:
    target, sources = random_domain("books", 1), [random_domain("movies", 1), random_domain("songs", 1)]
    if positives:
        target, sources = with_likes(target), [with_likes(source) for source in sources]
    parts = divide(target, sources, name, tmp_path)
    sources = sources[: len(parts.sources)]
    loaded = build_world(target, sources, parts, positives, core=0)
    world, users = loaded.world, loaded.users
    kept = positive_ones if positives else (lambda frame: frame)
    hidden = triples(kept(pl.concat([parts.valid, parts.test])))
    sides = [(world.target, parts.train), *zip(world.sources, parts.sources, strict=True)]
    for side, visible in sides:
        visible = kept(visible)
        items = ids(visible)
        train, fit = (of_interactions(events, users, items) for events in (side.train, side.fit))
        stop, masked = of_heldout(side.stop, users, items)
        assert train == triples(visible)
        assert fit == triples(visible.filter(~pl.col("stop")))
        assert stop == train - fit
        assert stop
        assert masked == {(u, i) for u, i, _ in fit if u in {user for user, _, _ in stop}}
        assert not (train | stop) & hidden
        counts = [sum(item == i for _, i, _ in fit) for item in items]
        np.testing.assert_array_equal(side.stop.popularity, counts)
    assert loaded.items == ids(kept(parts.train))
    of_valid, seen_in_valid = of_heldout(world.valid, users, loaded.items)
    of_test, seen_in_test = of_heldout(world.test, users, loaded.items)
    for found, part in ((of_valid, parts.valid), (of_test, parts.test)):
        asked = set(users) if name in ("cold_start", "files") else set(parts.train["user"])
        assert found == {e for e in triples(kept(part)) if e[1] in loaded.items and e[0] in asked}
        assert found
    train_pairs = {(u, i) for u, i, _ in triples(kept(parts.train))}
    rated, later = (
        set() if part is None else {(u, i) for u, i, _ in triples(part) if i in loaded.items}
        for part in (parts.rated, parts.rated_valid)
    )
    assert bool(rated) == (positives and name != "files"), "those files hold what is liked alone"
    assert not (rated | later) & {(u, i) for u, i, _ in hidden}
    assert seen_in_valid == {p for p in train_pairs | rated if p[0] in {u for u, _, _ in of_valid}}
    before_test = train_pairs | rated | later | {(u, i) for u, i, _ in of_valid}
    assert seen_in_test == {p for p in before_test if p[0] in {u for u, _, _ in of_test}}
    counts = [sum(item == i for _, i in train_pairs) for item in loaded.items]
    np.testing.assert_array_equal(world.test.popularity, counts)
    np.testing.assert_array_equal(world.valid.popularity, counts)


@pytest.mark.parametrize("positives", [False, True])
@pytest.mark.parametrize("name", SPLITS)
def test_hidden_ratings_change_no_training_array(name: str, positives: bool, tmp_path: Path) -> None:
    target, sources = random_domain("books", 2), [random_domain("movies", 2)]
    if positives:
        target, sources = with_likes(target), [with_likes(source) for source in sources]
    parts = divide(target, sources, name, tmp_path)
    hidden = pl.concat([parts.valid, parts.test]).select("user", "item", hidden=True)
    changed = target.events.join(hidden, on=["user", "item"], how="left").with_columns(
        rating=pl.when(pl.col("hidden")).then((9 if positives else 6) - pl.col("rating")).otherwise(pl.col("rating"))
    )
    other = replace(target, events=changed.select(list(EVENTS)))
    assert other.events["rating"].sum() != target.events["rating"].sum()
    once = build_world(target, sources, parts, positives, core=2)
    again = build_world(other, sources, divide(other, sources, name, tmp_path), positives, core=2)
    assert_equal(leaves(once, hidden=False), leaves(again, hidden=False))
    assert (once.users, once.items) == (again.users, again.items)
    assert (once.fingerprint == again.fingerprint) == positives  # of what is liked the ratings are forgotten


def by_hand(train: list[Any], test: list[Any], source: list[Any], valid: tuple[Any, ...] = ()) -> Parts:
    def frame(rows: Any) -> pl.DataFrame:
        return pl.DataFrame([(u, i, r, None) for u, i, r in rows], EVENTS, orient="row")

    marked = [frame(rows).with_columns(stop=pl.lit(False)) for rows in (train, source)]
    return Parts(marked[0], frame(valid), frame(test), (marked[1],))


BOOKS, MOVIES = domain("books", []), domain("movies", [])
SOURCE = [("u1", "m1", 5), ("u2", "m1", 4), ("u3", "m2", 3)]


def test_the_vocabulary_is_of_training_and_what_is_lost_is_counted() -> None:
    train = [("u1", "b1", 5), ("u2", "b2", 4)]
    test = [("u3", "b1", 5), ("u3", "b9", 5), ("nobody", "b1", 5)]
    loaded = build_world(BOOKS, [MOVIES], by_hand(train, test, SOURCE, (("u3", "b8", 5),)), False, core=0)
    assert loaded.items == ["b1", "b2"]
    assert loaded.users == ["u1", "u2", "u3"]
    assert loaded.titles == {"b1": "One"}
    assert of_heldout(loaded.world.test, loaded.users, loaded.items)[0] == {("u3", "b1", 5.0)}
    assert loaded.world.valid.n_events == 0
    assert loaded.summary["hidden_events_of_unknown_users_or_items"] == 3
    assert loaded.summary["target"]["train"] == {"users": 2, "items": 2, "events": 2}
    assert loaded.summary["target"]["test"] == {"users": 1, "items": 1, "events": 1}
    assert loaded.summary["users_trained_in_both"] == 2


def test_the_core_counts_training_events_only() -> None:
    train = [(u, i, 5) for u in ("u1", "u2") for i in ("b1", "b2")] + [("u1", "rare", 5), ("u3", "b1", 5)]
    test = [("u2", "rare", 5), ("u4", "rare", 5), ("u4", "b1", 5), ("u3", "b2", 5)]  # with these, rare and u3 would stay
    source = [(u, m, 5) for u in ("u1", "u4") for m in ("m1", "m2")] + [("u3", "m1", 5)]
    loaded = build_world(BOOKS, [MOVIES], by_hand(train, test, source), False, core=2)
    assert loaded.items == ["b1", "b2"]
    assert loaded.users == ["u1", "u2", "u4"]
    assert loaded.summary["events_lost_to_core"] == 2
    assert loaded.world.sources[0].train.users.shape == (4,)
    chain = [("u1", "b1", 5), ("u1", "b2", 5), ("u2", "b2", 5)]  # falls apart one by one
    with pytest.raises(TransferError, match=r"no training events of books are left after the filters.*domain\.core=2"):
        build_world(BOOKS, [MOVIES], by_hand(chain, test, source), False, core=2)


def test_positives_are_at_or_above_the_threshold_of_their_own_domain() -> None:
    train = [("u1", "b1", 4), ("u1", "b2", 3), ("u2", "b1", 5)]
    source = [("u1", "m1", 8), ("u3", "m1", 7), ("u3", "m2", 9)]
    books = with_likes(domain("books", [(u, i, r, 0) for u, i, r in [*train, ("u3", "b1", 4), ("u3", "b2", 1)]]))
    movies = with_likes(domain("movies", [(u, i, r, 0) for u, i, r in source], scale=(1.0, 10.0), positive=8.0))
    assert books.others is not None
    assert books.others.select("user", "item").rows() == [("u1", "b2"), ("u3", "b2")]
    known, asked = (books.events.filter(pl.col("user").is_in(["u1", "u2"]) == here) for here in (True, False))
    marked = [events.with_columns(stop=pl.lit(False)) for events in (known, movies.events)]
    loaded = build_world(books, [movies], Parts(marked[0], asked.clear(), asked, (marked[1],)), True, core=0)
    assert of_interactions(loaded.world.target.train, loaded.users, ["b1"]) == {("u1", "b1", 1.0), ("u2", "b1", 1.0)}
    assert of_interactions(loaded.world.sources[0].train, loaded.users, ["m1", "m2"]) == {
        ("u1", "m1", 1.0),
        ("u3", "m2", 1.0),
    }
    assert loaded.world.test.n_events == 1
    assert len(with_likes(replace(domain("books", [("u1", "b1", 1, 0)]), positive=None)).events) == 1


def test_source_ratings_come_to_the_scale_of_the_target() -> None:
    source = [("u1", "m1", 1), ("u2", "m1", 5.5), ("u3", "m1", 10)]
    parts = by_hand([("u1", "b1", 5), ("u2", "b1", 1)], [("u3", "b1", 3)], source)
    loaded = build_world(BOOKS, [replace(MOVIES, scale=(1.0, 10.0))], parts, False, core=0)
    np.testing.assert_allclose(loaded.world.sources[0].train.ratings, [1, 3, 5])
    np.testing.assert_allclose(loaded.world.target.train.ratings, [5, 1])
    assert loaded.world.scale == (1.0, 5.0)
    unrated = by_hand([("u1", "b1", 5)], [("u2", "b1", 5)], [("u2", "m1", None)])
    with pytest.raises(TransferError, match="movies has events without one; use task=ranking"):
        build_world(BOOKS, [MOVIES], unrated, False, core=0)
    assert build_world(BOOKS, [MOVIES], unrated, True, core=0).world.sources[0].train.ratings[0] == 1.0


@pytest.mark.parametrize(("scores", "chunks"), [(1, 30), (12, 30), (40, 9), (200, 2), (2**22, 1)])
def test_chunks_hold_the_same_events_whatever_their_number(
    scores: int, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, source = random_domain("books", 3), random_domain("movies", 3)
    parts = divide(target, [source], "ratio", Path())
    plain = build_world(target, [source], parts, False, core=0)
    monkeypatch.setattr(events_module, "CHUNK_SCORES", scores)
    loaded = build_world(target, [source], parts, False, core=0)
    test = loaded.world.test
    assert of_heldout(test, loaded.users, loaded.items) == of_heldout(plain.world.test, plain.users, plain.items)
    assert (test.n_users, len(loaded.items)) == (30, 12)
    assert test.users.shape == (chunks, -(-30 // chunks))


def test_interactions_are_sorted_and_their_starts_and_longest_right() -> None:
    events = small_world().world.sources[0].train
    users, items = np.asarray(events.users), np.asarray(events.items)
    assert np.all(np.diff(users.astype(np.int64) * events.n_items + items) > 0)
    degree = np.bincount(users, minlength=events.n_users)
    np.testing.assert_array_equal(np.diff(events.starts), degree)
    assert (events.starts[0], events.starts[-1]) == (0, len(users))
    assert degree.max() <= events.longest < 2 * degree.max()
    assert (degree == 0).any()  # readers who watch nothing


def test_the_fingerprint_is_of_the_data_and_not_of_the_order_of_rows() -> None:
    target, source = random_domain("books", 4), random_domain("movies", 4)

    def fingerprint(books: Domain, movies: Domain, seed: int = 0) -> str:
        return build_world(books, [movies], divide(books, [movies], "ratio", Path(), seed), False, core=0).fingerprint

    original = fingerprint(target, source)
    mixed = [replace(d, events=d.events.sample(fraction=1, shuffle=True, seed=7)) for d in (target, source)]
    assert fingerprint(*mixed) == original
    first = pl.int_range(pl.len()) == 0
    rated = source.events.with_columns(rating=pl.when(first).then(6 - pl.col("rating") + 0.5).otherwise("rating"))
    changed = [fingerprint(target, replace(source, events=events)) for events in (rated, source.events[1:])]
    assert len({original, fingerprint(target, source, seed=1), *changed}) == 4


def test_the_split_has_its_own_seed() -> None:
    assert small_world(seed=5).loaded.fingerprint == small_world(seed=6).loaded.fingerprint
    assert small_world(split__seed=1).loaded.fingerprint != small_world().loaded.fingerprint

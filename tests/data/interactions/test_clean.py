"""Cleaning: editions of one work, ids found in both domains, repeated pairs; and counts that account for every row."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.config.domains import FileDomains, Files
from transfer.data.interactions import near_duplicates
from transfer.data.interactions.clean import clean
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.near_duplicates import editions, mirrors
from transfer.data.interactions.read import read_domain
from transfer.errors import TransferError

Row = tuple[str, str, float | None, int | None]


def config(**changes: Any) -> FileDomains:
    values = {"kind": "files", "name": "t", "target": "t", "source": "s", "global_ids": True, "duplicates": "last"}
    values |= {
        "mirrored": "drop",
        "near_duplicates": "merge",
        "jaccard": 0.6,
        "common_raters": 2,
        "core": 0,
        "text_dim": 0,
        "same_users": True,
    }
    return FileDomains.model_validate(values | changes)


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, EVENTS, orient="row")


def domain(name: str, rows: list[Row], titles: dict[str, str | None] | None = None) -> Domain:
    table = list((titles or {}).items())
    return Domain(name, frame(rows), pl.DataFrame(table, {"item": pl.String, "title": pl.String}, orient="row"))


def rated(item: str, users: str) -> list[Row]:
    return [(user, item, 1.0, None) for user in users]


NOTHING = domain("other", rated("elsewhere", "z"))


# --- near-duplicates -------------------------------------------------------------------------------------------------


def test_the_item_with_most_raters_stays_and_ties_go_to_the_smallest_id() -> None:
    assert editions(frame(rated("a", "123") + rated("b", "1234")), 0.6, 2) == {"a": "b"}
    assert editions(frame(rated("b", "123") + rated("a", "123") + rated("b", "1")), 0.6, 2) == {"b": "a"}


def test_links_join_into_components() -> None:
    chain = rated("a", "1234") + rated("b", "12345") + rated("c", "23456")  # a and c alone share half: not linked
    assert editions(frame(rated("a", "1234") + rated("c", "23456")), 0.6, 2) == {}
    assert editions(frame(chain), 0.6, 2) == {"a": "b", "c": "b"}


def test_the_blocks_of_a_large_product_join_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", 2)
    apart = [row for item, users in zip("abcde", ["12", "34", "56", "78", "34"], strict=True) for row in rated(item, users)]
    assert editions(frame(apart), 0.6, 2) == {"e": "b"}
    assert mirrors(frame(rated("x", "34")), frame(apart), 0.6, 2) == {"b", "e"}


def test_both_thresholds_count() -> None:
    pair = frame(rated("a", "1234") + rated("b", "1235"))  # 3 common raters of 5: 0.6
    assert editions(pair, 0.59, 3) == {"b": "a"}
    assert editions(pair, 0.6, 3) == {}
    assert editions(pair, 0.59, 4) == {}
    assert mirrors(frame(rated("a", "1234")), frame(rated("b", "1235")), 0.59, 3) == {"b"}
    assert mirrors(frame(rated("a", "1234")), frame(rated("b", "1235")), 0.6, 3) == set()
    assert mirrors(frame(rated("a", "1234")), frame(rated("b", "1235")), 0.59, 4) == set()


SETS = st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("123456"), min_size=1), min_size=1)


@settings(max_examples=80, deadline=None)
@given(target=SETS, source=SETS, jaccard=st.sampled_from([0.3, 0.5, 0.6, 0.9]), common=st.integers(1, 4))
def test_the_sparse_product_agrees_with_sets(
    target: dict[str, set[str]], source: dict[str, set[str]], jaccard: float, common: int
) -> None:
    def linked(a: set[str], b: set[str]) -> bool:
        return len(a & b) >= common and len(a & b) > jaccard * len(a | b)

    def events(raters: dict[str, set[str]]) -> pl.DataFrame:
        rows = [row for item, users in raters.items() for row in rated(item, "".join(sorted(users)))]
        return frame([*rows, *rows[::2]])  # who rates an item twice is one rater

    group = {item: item for item in target}
    for a in target:
        for b in target:
            if linked(target[a], target[b]):
                group = {item: group[a] if g == group[b] else g for item, g in group.items()}
    kept = {g: min((i for i in group if group[i] == g), key=lambda i: (-len(target[i]), i)) for g in group.values()}
    assert editions(events(target), jaccard, common) == {i: kept[g] for i, g in group.items() if kept[g] != i}
    copies = {i for i, users in source.items() if any(linked(users, other) for other in target.values())}
    assert mirrors(events(target), events(source), jaccard, common) == copies


def test_the_editions_of_amazon_are_those_of_the_independent_pass(data_dir: Path) -> None:
    folder = data_dir / "amazon-movies-books"
    reference = json.loads((folder / "near_duplicates.json").read_text())
    books, movies = (read_domain(Files(path=f"{n}.inter", scale=(1, 5)), folder) for n in ("books", "movies"))
    for each in (books, movies):
        found = editions(each.events, 0.6, 5)
        assert found | {kept: kept for kept in found.values()} == reference[each.name]  # it lists those that stay too
    start = time.perf_counter()
    target, (source,), counts = clean(books, [movies], config(common_raters=5))
    assert time.perf_counter() - start < 3
    gone = set(movies.events["item"]) - set(source.events["item"])
    stay = {item for item, kept in reference["movies"].items() if item == kept}
    assert gone == set(reference["movies"]) - stay | set(reference["dropped_movies"])
    assert set(target.events["item"]) == {reference["books"].get(item, item) for item in books.events["item"]}
    assert counts["books"]["repeated"] == 6645
    assert [counts[name]["merged_items"] for name in ("books", "movies")] == [72, 83]
    assert counts["movies"]["mirrored_by_raters"] == 5


def test_a_large_catalogue_takes_seconds(data_dir: Path) -> None:
    folder = data_dir / "amazon-movies-books-dated"
    domains = [read_domain(Files(path=f"{n}.inter"), folder) for n in ("books", "movies")]
    start = time.perf_counter()
    editions(pl.concat([each.events for each in domains]), 0.6, 5)
    assert time.perf_counter() - start < 5


# --- what is done with them ------------------------------------------------------------------------------------------

EDITIONS = rated("a", "123") + rated("b", "1234") + rated("c", "9")


def test_merging_renames_events_and_completes_the_item_table() -> None:
    titles = {"a": "The A", "b": None, "c": "The C"}
    books, _, counts = clean(domain("books", EDITIONS, titles), [NOTHING], config())
    assert sorted(books.events.select("user", "item").rows()) == [
        ("1", "b"),
        ("2", "b"),
        ("3", "b"),
        ("4", "b"),
        ("9", "c"),
    ]
    assert sorted(books.items.rows()) == [("b", "The A"), ("c", "The C")]
    assert (counts["books"]["merged_items"], counts["books"]["repeated_by_merging"]) == (1, 3)
    kept, _, _ = clean(domain("books", EDITIONS, titles | {"b": "The B"}), [NOTHING], config())
    assert sorted(kept.items.rows()) == [("b", "The B"), ("c", "The C")]


def test_report_only_counts() -> None:
    target, source = domain("books", EDITIONS), domain("movies", rated("m", "123"))
    books, (movies,), counts = clean(target, [source], config(near_duplicates="report"))
    assert books.events.equals(target.events)
    assert movies.events.equals(source.events)
    assert (counts["books"]["near_duplicates"], counts["books"]["merged_items"]) == (1, 0)
    assert (counts["movies"]["mirrored_by_raters"], counts["movies"]["dropped_rows"]) == (1, 0)


def test_a_source_item_with_the_raters_of_a_target_item_goes_with_all_its_editions() -> None:
    target = domain("books", rated("b", "1234"))
    rows = rated("m", "12345") + rated("n", "1234567") + rated("o", "89")  # n is too far from b, but an edition of m
    assert mirrors(target.events, frame(rows), 0.6, 2) == {"m"}
    _, (movies,), counts = clean(target, [domain("movies", rows, {"m": "M", "n": "N", "o": "O"})], config())
    assert movies.events["item"].unique().to_list() == ["o"]
    assert movies.items.rows() == [("o", "O")]
    count = counts["movies"]
    assert (count["mirrored_by_raters"], count["dropped_items"], count["dropped_rows"]) == (1, 2, 12)


def test_equal_ids_are_one_product_only_where_ids_are_global() -> None:
    target = domain("books", rated("x", "1") + rated("b", "2"))
    sources = [domain("movies", rated("x", "7") + rated("m", "1")), domain("music", rated("x", "8"))]
    same = {"movies": {"x", "m"}, "music": {"x"}}
    for changes, left in [
        ({"mirrored": "drop"}, {"movies": {"m"}, "music": set()}),
        ({"mirrored": "keep"}, same),
        ({"mirrored": "drop", "global_ids": False}, same),
        ({"mirrored": "error", "global_ids": False}, same),
    ]:
        books, cleaned, counts = clean(target, sources, config(**changes))
        assert books.events.equals(target.events)
        assert {each.name: set(each.events["item"]) for each in cleaned} == left
        key = "mirrored_ids" if changes.get("global_ids", True) else "coinciding_ids"
        assert [counts[name][key] for name in ("movies", "music")] == [1, 1]
    with pytest.raises(TransferError, match=r"movies: item x is in books too; .*domain\.mirrored"):
        clean(target, sources, config(mirrored="error"))


@pytest.mark.parametrize(
    ("how", "times", "expected"),
    [
        ("last", [None, None, None], (2.0, None)),
        ("last", [5, 9, 7], (3.0, 9)),
        ("last", [5, 9, 9], (2.0, 9)),
        ("mean", [5, 9, 7], (2.0, 9)),
        ("max", [5, 7, 9], (3.0, 9)),
    ],
)
def test_one_rating_is_left_of_several(how: str, times: list[int | None], expected: tuple[float, int | None]) -> None:
    rows: list[Row] = [("u", "i", rating, t) for rating, t in zip([1.0, 3.0, 2.0], times, strict=True)]
    rows.insert(1, ("v", "i", 5.0, None if times[0] is None else 1))
    books, _, counts = clean(domain("books", rows), [NOTHING], config(duplicates=how))
    assert books.events.filter(pl.col("user") == "u").rows() == [("u", "i", *expected)]
    assert (counts["books"]["repeated"], counts["books"]["rows"]) == (2, 2)
    assert dict(books.events.schema) == EVENTS


def test_repeats_can_be_refused_and_names_must_differ() -> None:
    rows = [*rated("i", "1"), *rated("j", "22"), *rated("i", "1")]
    with pytest.raises(TransferError, match=r"books: user 1 has item i more than once; .*domain\.duplicates"):
        clean(domain("books", rows), [NOTHING], config(duplicates="error"))
    alone = domain("books", rated("i", "12"))
    assert clean(alone, [NOTHING], config(duplicates="error"))[0].events.equals(alone.events)
    with pytest.raises(TransferError, match=r"two domains are called 'books'.*`name`"):
        clean(alone, [domain("books", rated("k", "1"))], config())


EVENT = st.tuples(
    st.sampled_from("12345"), st.sampled_from("abcd"), st.integers(1, 10).map(lambda n: n / 2), st.integers(0, 3)
)
EVENT_LISTS = st.lists(EVENT, min_size=1, max_size=40)
CHOICES = {
    "duplicates": st.sampled_from(["last", "mean", "max"]),
    "near_duplicates": st.sampled_from(["merge", "report"]),
    "mirrored": st.sampled_from(["keep", "drop"]),
    "global_ids": st.booleans(),
}


@settings(max_examples=80, deadline=None)
@given(rows=EVENT_LISTS, others=EVENT_LISTS, changes=st.fixed_dictionaries(CHOICES), shuffle=st.randoms())
def test_invariants(rows: list[Row], others: list[Row], changes: dict[str, Any], shuffle: random.Random) -> None:
    target, source = domain("books", rows), domain("movies", others)
    books, (movies,), counts = clean(target, [source], config(**changes))
    json.dumps(counts)
    for before, after in ((target, books), (source, movies)):
        pairs = after.events.select("user", "item")
        assert pairs.n_unique() == pairs.height
        count = counts[before.name]
        removed = count["dropped_rows"] + count["repeated"] + count["repeated_by_merging"]
        assert count["rows_read"] == before.events.height == removed + after.events.height
        assert set(pairs["user"]) <= set(before.events["user"])
        if not count["dropped_rows"]:
            lost = before.events["item"].n_unique() - after.events["item"].n_unique()
            assert lost == count["merged_items"]
    if changes["mirrored"] == "drop" and changes["global_ids"]:
        assert not set(movies.events["item"]) & set(target.events["item"])
    if changes["duplicates"] != "last":
        mixed = shuffle.sample(rows, len(rows)), shuffle.sample(others, len(others))
        again, (also,), _ = clean(domain("books", mixed[0]), [domain("movies", mixed[1])], config(**changes))
        assert again.events.sort("user", "item").equals(books.events.sort("user", "item"))
        assert also.events.sort("user", "item").equals(movies.events.sort("user", "item"))
    merged = editions(target.events, 0.6, 2)
    assert not set(merged) & set(merged.values())  # who stays is never renamed: merging by the same map again is idle
    if changes["near_duplicates"] == "merge":
        assert not set(books.events["item"]) & set(merged)

"""Ids as numbers: they read, sort and are found as before."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from transfer.data.interactions.domain import EVENTS, Domain, places, with_numbered_ids

IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
PAIRS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=12)


def domain(name: str, pairs: list[tuple[str, str]], listed: list[str]) -> Domain:
    rows = [(user, item, 1.0, None) for user, item in pairs]
    return Domain(name, pl.DataFrame(rows, EVENTS, orient="row"), pl.DataFrame({"item": listed}, {"item": pl.String}))


@given(PAIRS, PAIRS, st.lists(IDS, unique=True, max_size=3))
def test_numbered_ids_read_and_sort_as_text_does(
    one: list[tuple[str, str]], other: list[tuple[str, str]], listed: list[str]
) -> None:
    plain = [domain("books", one, listed), domain("movies", other, [])]
    numbered = with_numbered_ids(plain)
    for before, after in zip(plain, numbered, strict=True):
        for name in ("user", "item"):
            assert after.events[name].dtype == numbered[0].events[name].dtype != pl.String
        assert after.events.cast({"user": pl.String, "item": pl.String}).equals(before.events)
        assert after.events.sort("user", "item").rows() == before.events.sort("user", "item").rows()
        assert after.items["item"].to_list() == before.items["item"].to_list()  # those without events too


@given(PAIRS, PAIRS)
def test_places_are_those_among_the_sorted_ids(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    plain = [domain("books", one, []), domain("movies", other, [])]
    for domains in (plain, with_numbered_ids(plain)):
        for each in domains:
            known = each.events["user"].unique().sort()
            expected = [known.to_list().index(user) for user in each.events["user"]]
            assert places(each.events["user"], known).tolist() == expected

"""What the words of a command set: a plain path sets the path alone, in any order, and nothing is lost without a word."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.api import compose, spelled_out
from transfer.config.overrides import with_paths, with_swept_groups
from transfer.errors import TransferError

FIRST = ("domain=files", "domain.source=movies.csv", "domain.target=books.csv", "domain.target.scale=[1,5]")
WORDS = (
    *FIRST,
    "domain.target.positive=4",
    "domain.source.user=who",
    "domain.target.items=t.csv",
    "domain.target.items.item=id",
)
FILES: dict[str, Any] = {"path": "???", "scale": None, "items": {"path": None, "item": None}}


def domain(*words: str) -> Any:
    return compose(words).domain


@settings(deadline=None, max_examples=50)
@given(st.permutations(WORDS))
def test_any_order_of_words_becomes_the_same_words(words: list[str]) -> None:
    said = with_paths(words, lambda choices: {"source": FILES, "target": FILES})
    assert sorted(said) == sorted(
        [
            *("domain=files", "domain.source.path=movies.csv", "domain.target.path=books.csv", "domain.target.scale=[1,5]"),
            *("domain.target.positive=4", "domain.source.user=who"),
            *("domain.target.items.path=t.csv", "domain.target.items.item=id"),
        ]
    )


@pytest.mark.parametrize("order", list(permutations(range(3)))[::2])
def test_the_first_command_is_one_configuration_in_any_order(order: tuple[int, ...]) -> None:
    words = [("domain.target=books.csv", "domain.target.scale=[1,5]", "domain.target.positive=4")[i] for i in order]
    found = domain("domain.source=movies.csv", *words, "domain=files", "method=user_knn")
    assert (found.target.path, found.target.scale, found.target.positive) == ("books.csv", (1, 5), 4)
    assert [files.path for files in found.source] == ["movies.csv"]


def test_a_ready_world_keeps_all_but_the_path() -> None:
    found = domain(
        "domain=amazon_movies_books", "domain.target=OTHER.csv", "domain.source=FILMS.csv", "domain.source.scale=[1,10]"
    )
    target, (source,) = found.target, found.source
    assert (target.path, target.name, target.scale, target.positive) == ("OTHER.csv", "books", (1, 5), 4)
    assert (source.path, source.name, source.scale, source.positive) == ("FILMS.csv", "movies", (1, 10), 4)


def test_several_sources_and_none_stay_possible() -> None:
    listed = "domain.source=[{name: liked, path: a.csv, positive: 4}, b.csv]"
    several = domain("domain=amazon_movies_books", listed).source
    assert [(files.path, files.positive) for files in several] == [("a.csv", 4), ("b.csv", None)]
    assert domain("domain=files", "domain.target=a.csv", "domain.source=null").source == ()
    assert domain("domain=files", "domain.target=a.csv", "domain.source={path: b.csv, user: who}").source[0].user == "who"
    with pytest.raises(TransferError, match=r"domain\.source is a list"):
        domain("domain=files", "domain.source.scale=[1,5]", listed, "domain.target=a.csv")


def test_names_of_labelled_examples_stay_names() -> None:
    words = ["domain=digits_shift", "domain.target=inverted", "method=coral"]
    assert spelled_out(words) == words
    assert domain(*words).target == "inverted"


def test_what_a_sweep_gives_is_put_in_place_too() -> None:
    words = ["-m", "domain=files", "domain.source=null,a.csv,[b.csv,c.csv]", "domain.target=d.csv,e.csv"]
    said = ["domain.source.path=null,a.csv,[b.csv,c.csv]", "domain.target.path=d.csv,e.csv"]
    assert spelled_out(words) == ["-m", "domain=files", *said]
    own_yaml = {"source": [FILES], "target": FILES}
    assert with_paths(["domain.source=x.csv"], lambda choices: own_yaml) == ["domain.source.0.path=x.csv"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["method=ease,item_knn", "method.domains=target"], ["method=ease,item_knn", "method.domains=choice(target)"]),
        (["method=ease,item_knn", "method.domains=both,target"], ["method=ease,item_knn", "method.domains=both,target"]),
        (["method=ease", "method.domains=target"], ["method=ease", "method.domains=target"]),
        (["method=a,b", "model.dim=8", "method.permute=[text]"], ["method=a,b", "model.dim=8", "method.permute=[text]"]),
        (
            ["split=ratio,cold_start", "split.valid=0.2", "seed=0,1"],
            ["split=ratio,cold_start", "split.valid=choice(0.2)", "seed=0,1"],
        ),
    ],
)
def test_a_setting_of_swept_choices_is_set_on_each_of_them(words: list[str], expected: list[str]) -> None:
    assert with_swept_groups(words) == expected
    assert spelled_out(["-m", *words]) == ["-m", *expected]
    assert spelled_out(words) == words

"""Dislikes that are hidden with the likes: no part knows what it is asked, and what is known is not asked."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from transfer.config.domains import Files
from transfer.config.splits import Split
from transfer.data.features.catalogue import cataloguer, check_sources
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.formats import Dialect
from transfer.data.interactions.judged import disliked_up_to, hidden_dislikes
from transfer.data.interactions.likes import with_likes
from transfer.data.interactions.parts import Parts
from transfer.data.interactions.split import split
from transfer.data.interactions.table import collect, open_table
from transfer.errors import TransferError

SPLITS: dict[str, dict[str, Any]] = {
    "cold_start": {"beta": 0.3, "valid": 0.2},
    "few_shot": {"keep": 1, "beta": 0.3, "valid": 0.2},
    "cold_items": {"beta": 0.3, "valid": 0.2},
    "global_time": {"valid": 0.2, "test": 0.2},
    "fold_in": {"valid": 0.2, "test": 0.2},
}


def rated(name: str, **facts: Any) -> Domain:
    """30 readers with ratings of 1 to 5 of 12 items each, at times of their own."""
    rows = [
        (f"u{u:02}", f"i{i:02}", float(1 + (7 * u + 3 * i) % 5), float(97 * u + 31 * i))
        for u in range(30)
        for i in range(12)
    ]
    table = pl.DataFrame(schema={"item": pl.String, "title": pl.String})
    return Domain(name, pl.DataFrame(rows, EVENTS, orient="row"), table, scale=(1.0, 5.0), positive=4.0, **facts)


def divided(name: str, **facts: Any) -> tuple[Domain, Parts]:
    target, source = with_likes(rated("books", **facts)), with_likes(rated("movies"))
    how = Split(**{"name": name, "seed": 0, "stop": 0.1, **SPLITS.get(name, {"valid": 0.1, "test": 0.2})})
    return target, split(target, [source], how, Path())


def pairs(events: pl.DataFrame) -> set[tuple[str, str]]:
    return set(events.select("user", "item").iter_rows())


@pytest.mark.parametrize("name", SPLITS)
def test_a_hidden_dislike_is_known_to_nobody_and_of_a_reader_who_is_asked(name: str) -> None:
    target, parts = divided(name)
    found = hidden_dislikes(target, parts)
    assert found
    known = pairs(parts.train) | (pairs(parts.rated) if parts.rated is not None else set())
    for part, likes in (("valid", parts.valid), ("test", parts.test)):
        assert len(found[part])
        assert found[part]["rating"].max() == 2  # type: ignore[comparison-overlap]
        assert set(found[part]["user"]) <= set(likes["user"])
        assert not pairs(found[part]) & (known | pairs(likes))
        if name == "cold_items":
            assert set(found[part]["item"]) <= set(likes["item"])
    assert not pairs(found["valid"]) & pairs(found["test"])
    if parts.rated_valid is not None:
        assert not pairs(found["test"]) & pairs(parts.rated_valid), "known when the test is asked"
    every = {(u, i) for u, i, r in target.others.select("user", "item", "rating").iter_rows() if r <= 2}  # type: ignore[union-attr]
    if name in ("cold_start", "few_shot"):  # all that such a reader dislikes is hidden
        test = set(parts.test["user"])
        assert pairs(found["test"]) == {(u, i) for u, i in every if u in test}


def test_a_split_that_knows_all_that_is_not_liked_hides_none() -> None:
    for name in ("ratio", "leave_one_out"):
        assert hidden_dislikes(*divided(name)) == {}


def test_what_is_disliked_is_what_is_liked_in_the_mirror_unless_it_is_said() -> None:
    assert disliked_up_to(rated("books")) == 2
    target, parts = divided("cold_start", disliked=1.0)
    found = hidden_dislikes(target, parts)
    assert found
    assert set(itertools.chain(*(part["rating"] for part in found.values()))) == {1.0}
    nothing = Domain("books", pl.DataFrame(schema=EVENTS), pl.DataFrame())
    assert disliked_up_to(nothing) is None
    with pytest.raises(ValueError, match="disliked=4, and 4 is liked"):
        Files(path="a.csv", positive=4, disliked=4)
    with pytest.raises(ValueError, match="nothing is said of what is liked"):
        Files(path="a.csv", disliked=1)


def test_a_header_that_runs_into_the_first_row_is_parted_from_it(tmp_path: Path) -> None:
    head, rows = "item_id:token\tprice:float\tbrand:token", ["000100039X\t3.99\t", "0002051850\t8.99\tX"]
    whole, broken = tmp_path / "a.item", tmp_path / "b.item"
    whole.write_text("\n".join([head, *rows]) + "\n")
    broken.write_text(head + "\n".join(rows) + "\n")
    read = [
        collect(open_table(path, Dialect()), {"p": pl.col("price:float"), "i": pl.col("item_id:token")})
        for path in (whole, broken)
    ]
    assert read[0][0].equals(read[1][0])
    assert read[0][0]["i"].to_list() == ["000100039X", "0002051850"]
    assert ("header_run_on" in read[0][1], "header_run_on" in read[1][1]) == (False, True)
    odd = tmp_path / "c.item"
    odd.write_text("item_id:token\ttitle:token_seq\na\tb\n")
    assert open_table(odd, Dialect()).schema.keys() == {"item_id:token", "title:token_seq"}


def test_prices_of_another_file_are_found_by_id(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("asin,cost\ni01,2.5\ni03,0\nx,9\n")
    files = Files(path="a.csv", items={"price": {"path": "p.csv", "item": "asin", "columns": "cost"}})  # type: ignore[arg-type]
    domain = rated("books", files=files)

    found = cataloguer(SimpleNamespace(blocks={}), tmp_path)(domain, pl.Series(["i00", "i01", "i03"]), {})  # type: ignore[arg-type]
    assert {name: rows.tolist() for name, rows in found.items()} == {"price": [0, 2.5, 0]}


def test_a_source_has_no_lists_to_measure() -> None:
    check_sources([rated("movies", files=Files(path="a.csv", items={"path": "b.csv"}))])  # type: ignore[arg-type]
    for more in ({"positive": 4, "disliked": 1}, {"items": {"price": "cost"}}, {"items": {"genres": "kind"}}):
        with pytest.raises(TransferError, match=r"movies: dislikes, genres and prices .* or write task\.domains=all"):
            check_sources([rated("movies", files=Files(path="a.csv", **more))])  # type: ignore[arg-type]

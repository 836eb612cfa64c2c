"""Readers: every format gives back what was written, and every fault is one line with file, place and remedy."""

from __future__ import annotations

import csv
import datetime
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from transfer import api
from transfer.config.domains import FileDomains, Files, ItemTable
from transfer.data.interactions.domain import EVENTS
from transfer.data.interactions.read import locate, read_domain
from transfer.errors import TransferError

CONF = Path(__file__).parents[3] / "conf"
WORLDS = ["amazon_movies_books", "amazon_movies_books_dated", "movielens_goodbooks", "movielens_bookcrossing"]


def domain_config(*overrides: str) -> FileDomains:
    with initialize_config_dir(str(CONF / "domain"), version_base=None):
        name, *rest = overrides
        return FileDomains.model_validate(OmegaConf.to_container(compose(name, [r.removeprefix("domain.") for r in rest])))


def write(folder: Path, name: str, content: str | bytes) -> Files:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Files(path=name)


def read(folder: Path, name: str, content: str | bytes, **settings: Any) -> pl.DataFrame:
    return read_domain(write(folder, name, content).model_copy(update=settings), folder).events


# --- formats ---------------------------------------------------------------------------------------------------------

IDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\ufeff"), min_size=1, max_size=6)
ROWS = st.lists(
    st.tuples(IDS, IDS, st.floats(-1e6, 1e6, width=32, allow_subnormal=False), st.integers(0, 10**11)),
    min_size=1,
    max_size=20,
)
TYPED = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
PLAIN = ["user_id", "item_id", "rating", "timestamp"]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, name=st.sampled_from(["x.csv", "x.tsv", "x.txt", "x.inter", "plain.inter", "x.parquet"]))
def test_what_was_written_is_read_back_in_order(
    rows: list[tuple[Any, ...]], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("round") / name
    if name == "x.parquet":
        pl.DataFrame(rows, PLAIN, orient="row").write_parquet(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            unquoted = {"quoting": csv.QUOTE_NONE, "quotechar": None} if path.suffix == ".inter" else {}
            comma = "," if path.suffix == ".csv" else "\t"
            writer = csv.writer(file, delimiter=comma, lineterminator="\n", **unquoted)
            writer.writerows([TYPED if name == "x.inter" else PLAIN, *rows])
    events = read_domain(Files(path=str(path)), Path("nowhere")).events
    assert dict(events.schema) == EVENTS
    assert events.equals(pl.DataFrame(rows, EVENTS, orient="row"))


@pytest.mark.parametrize("header", ["user_id,item_id", "userId,movieId", "user_id,book_id", "User-ID,ISBN"])
def test_known_names_of_columns_are_recognised_and_rating_and_time_may_be_absent(tmp_path: Path, header: str) -> None:
    events = read(tmp_path, "a.csv", f"{header}\nu,007\nv,08X\n")
    assert events.rows() == [("u", "007", None, None), ("v", "08X", None, None)]
    assert dict(events.schema) == EVENTS


def test_columns_separator_and_encoding_can_be_named(tmp_path: Path) -> None:
    content = "day;product;é;stars\n5;x;Zoë;2.5\n".encode("latin-1")
    named = {"user": "é", "item": "product", "time": "day", "separator": ";", "encoding": "latin-1"}
    assert read(tmp_path, "a.csv", content, **named).rows() == [("Zoë", "x", 2.5, 5)]


def test_utf16_quotes_windows_line_ends_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    content = '\ufeffuser,item,rating\r\n"a,""b""",i,1\r\n'
    assert read(tmp_path, "a.csv", content).row(0)[:2] == ('a,"b"', "i")
    assert read(tmp_path, "b.csv", content[1:].encode("utf-16"), encoding="utf-16").row(0)[:2] == ('a,"b"', "i")


def test_times_are_seconds_whatever_they_were_written_in(tmp_path: Path) -> None:
    table = "user,item,timestamp\na,i,1400544000.0\na,j,1.4e9\na,k,1400544000123\n"
    domain = read_domain(write(tmp_path, "a.csv", table), tmp_path)
    assert domain.events["time"].to_list() == pytest.approx([1400544000, 1400000000, 1400544000.123], rel=0, abs=1e-6)
    assert domain.notes == {"milliseconds": 1}
    moment = datetime.datetime(2014, 5, 20)
    pl.DataFrame({"user": [1], "item": [2], "time": [moment]}).write_parquet(tmp_path / "a.parquet")
    assert read_domain(Files(path="a.parquet"), tmp_path).events.rows() == [("1", "2", None, 1400544000)]


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    domain = read_domain(write(tmp_path, "a.csv", "user,item,rating\n\na,i,1\n\nb,j,2\n\n"), tmp_path)
    assert domain.events["user"].to_list() == ["a", "b"]
    assert domain.notes == {"blank_lines": 3}


def test_a_parquet_id_keeps_its_value(tmp_path: Path) -> None:
    pl.DataFrame({"user": ["a"], "item": [12]}, schema_overrides={"user": pl.Categorical}).write_parquet(
        tmp_path / "a.parquet"
    )
    assert read_domain(Files(path="a.parquet"), tmp_path).events.row(0)[:2] == ("a", "12")


# --- item tables -----------------------------------------------------------------------------------------------------


def test_the_item_file_beside_the_interactions_is_found(tmp_path: Path) -> None:
    write(tmp_path, "b.item", 'item_id:token\ttitle:token_seq\nx\t"A" &amp; B\ny\t\nx\tlater\n')
    domain = read_domain(write(tmp_path, "b.inter", "user_id:token\titem_id:token\nu\tx\n"), tmp_path)
    assert domain.items.rows() == [("x", '"A" & B'), ("y", None)]
    assert domain.name == "b"


def test_no_item_table_is_an_empty_one(tmp_path: Path) -> None:
    items = read_domain(write(tmp_path, "b.inter", "user_id\titem_id\nu\tx\n"), tmp_path).items
    assert (items.columns, items.height) == (["item", "title"], 0)


def test_item_columns_get_one_name_whatever_the_collection_calls_them(tmp_path: Path) -> None:
    events = write(tmp_path, "r.csv", "user_id,book_id\nu,1\n")
    goodbooks = "book_id,isbn,authors,original_publication_year,original_title,title\n1,9,Ann,2008.0,No,Yes\n"
    crossing = "ISBN,Book-Title,Book-Author,Year-Of-Publication\n1,Yes,Ann,0\n"
    lens = "movieId,title,genres\n1,Yes,Drama|War\n"
    expected: list[tuple[str, dict[str, Any]]] = [
        (goodbooks, {"item": "1", "title": "Yes", "author": "Ann", "year": 2008}),
        (crossing, {"item": "1", "title": "Yes", "author": "Ann", "year": None}),
        (lens, {"item": "1", "title": "Yes", "genres": "Drama|War"}),
    ]
    for table, row in expected:
        (tmp_path / "items.csv").write_text(table)
        assert read_domain(events.model_copy(update={"items": ItemTable(path="items.csv")}), tmp_path).items.to_dicts() == [
            row
        ]


def test_the_item_table_may_have_another_format(tmp_path: Path) -> None:
    write(tmp_path, "items.tsv", "asin\ttitle\nx\tOne; two, three\n")
    files = write(tmp_path, "r.csv", "user;product\nu;x\n").model_copy(
        update={"items": ItemTable(path="items.tsv"), "separator": ";"}
    )
    assert read_domain(files.model_copy(update={"item": "product"}), tmp_path).items.rows() == [("x", "One; two, three")]


def test_titles_may_stand_beside_the_interactions(tmp_path: Path) -> None:
    files = write(tmp_path, "r.csv", "user,item,name\nu,x,The X\nv,x,The X\nv,y,\n").model_copy(update={"title": "name"})
    assert read_domain(files, tmp_path).items.rows() == [("x", "The X"), ("y", None)]


# --- faults ----------------------------------------------------------------------------------------------------------

HEAD = "user,item,rating,time\na,i,3,5\n"
FAULTS: dict[str, tuple[str, str | bytes, dict[str, Any], list[str]]] = {
    "zero bytes": ("a.csv", b"", {}, ["empty"]),
    "blank lines only": ("a.csv", b"\n\n", {}, ["empty"]),
    "header only": ("a.csv", "user,item\n", {}, ["no rows"]),
    "header only, inter": ("a.inter", "user_id:token\titem_id:token\n", {}, ["no rows"]),
    "broken parquet": ("a.parquet", b"PAR1 nonsense nonsense", {}, ["arquet"]),
    "unknown ending": ("a.abc", HEAD, {}, [".parquet", "`separator`", 'domain.target.separator=","']),
    "a spreadsheet": ("a.xls", HEAD, {}, ["CSV or Parquet"]),
    "long separator": ("a.csv", HEAD, {"separator": "::"}, ["`separator`", 'domain.target.separator=","']),
    "no user column": (
        "a.csv",
        "who,item,rating\na,i,1\n",
        {},
        ["line 1", "user", "who, item, rating", "domain.target.user=COLUMN"],
    ),
    "no item column": ("a.csv", "user,what\na,i\n", {}, ["line 1", "user, what", "domain.target.item=COLUMN"]),
    "named column absent": (
        "a.csv",
        HEAD,
        {"rating": "stars"},
        ["'stars'", "user, item, rating, time", "`rating: stars`"],
    ),
    "line end in the header": ("a.csv", '"wh\no",item\na,i\n', {}, ["wh o, item"]),
    "old line end in a row": ("a.csv", "user,item,rating\na\rb,i,x\n", {}, ["'x'"]),
    "one column": ("a.csv", "user;item\na;i\n", {}, ["`separator`"]),
    "rating is a word": ("a.csv", HEAD + "b,j,good,5\n", {}, ["line 3", "'good'", "correct or remove"]),
    "rating is empty": ("a.csv", HEAD + "b,j,,5\n", {}, ["line 3", "''", "rating"]),
    "rating is NaN": ("a.csv", HEAD + "b,j,nan,5\n", {}, ["line 3", "'nan'"]),
    "rating is infinite": ("a.csv", HEAD + "b,j,inf,5\n", {}, ["line 3", "'inf'"]),
    "rating too large for float32": ("a.csv", HEAD + "b,j,1e39,5\n", {}, ["line 3", "'1e39'"]),
    "rating off the scale": ("a.csv", HEAD + "b,j,6,5\n", {"scale": (1, 5)}, ["line 3", "'6'", "[1, 5]", "`scale`"]),
    "rating below the scale": ("a.csv", HEAD + "b,j,.4,5\n", {"scale": (0.5, 5)}, ["line 3", "'.4'", "[0.5, 5]"]),
    "quotes are text in inter": ("a.inter", 'user\titem\trating\n"u\ti\t1\nv\tj\tx\n', {}, ["line 3", "'x'"]),
    "lines above the header": ("a.csv", "\n\nuser,item,rating\na,i,x\n", {}, ["line 4", "'x'"]),
    "time is a date": ("a.csv", HEAD + "b,j,3,2014-05-20\n", {}, ["line 3", "'2014-05-20'", "1970"]),
    "time is negative": ("a.csv", HEAD + "b,j,3,-1\n", {}, ["line 3", "'-1'"]),
    "time is empty": ("a.csv", HEAD + "b,j,3,\n", {}, ["line 3", "time ''"]),
    "time beyond all units": ("a.csv", HEAD + "b,j,3,1e21\n", {}, ["line 3", "1970"]),
    "a threshold without ratings": (
        "a.csv",
        "user,item,mark\na,i,3\n",
        {"positive": 4},
        ["`positive`", "user, item, mark"],
    ),
    "a scale without ratings": (
        "a.csv",
        "user,item,mark\na,i,3\n",
        {"scale": (1, 5)},
        ["`scale`", "domain.target.rating=COLUMN"],
    ),
    "too many fields": ("a.csv", HEAD + "b,j,3,5\nb,k,3,5,9\n", {}, ["line 4", "5 fields", "has 4"]),
    "too many, last empty": ("a.csv", HEAD + "b,k,3,5,\n", {}, ["line 3", "5 fields"]),
    "too many, unused columns": ("a.csv", "user,item,x\na,i,1\na,i,1,2\n", {}, ["line 3", "4 fields"]),
    "too many, columns nobody reads": ("a.csv", "user,item,x,y\na,i,1,2\na,i,1,2,3\n", {}, ["line 3", "5 fields"]),
    "too many, inter": ("a.inter", "user_id\titem_id\nu\ti\nu\ti\tj\n", {}, ["line 3", "3 fields"]),
    "too few fields": ("a.csv", HEAD + "b,j,3\n", {}, ["line 3", "3 fields", "has 4"]),
    "too few, unused column": ("a.csv", "user,item,x\na,i,1\na,i\n", {}, ["line 3", "2 fields"]),
    "empty user": ("a.csv", HEAD + ",j,3,5\n", {}, ["line 3", "empty user id"]),
    "blank item": ("a.csv", HEAD + "b,  ,3,5\n", {}, ["line 3", "empty item id"]),
    "only separators": ("a.csv", HEAD + ",,,\n", {}, ["line 3", "empty user id"]),
    "after a field of two lines": ("a.csv", HEAD + '"b\nb",j,3,5\n\nc,k,x,5\n', {}, ["line 6", "'x'"]),
    "open quote": ("a.csv", HEAD + '"b,j,3,5\n' + "c,j,3,5\n" * 9, {}, ["line 3"]),
    "stray quote": ("a.csv", HEAD + 'b"b,j,3,5\nc,k,3,5\n', {}, ["cannot be parsed"]),
    "not utf-8": ("a.csv", HEAD.encode() + b"b,\xe9,3,5\n", {}, ["line 3", "utf-8", "`encoding`", "latin-1"]),
    "header not utf-8": ("a.csv", b"us\xe9r,item\na,b\n", {}, ["line 1", "`encoding`"]),
    "not ascii": ("a.csv", HEAD.encode() + b"b,\xe9,3,5\n", {"encoding": "ascii"}, ["line 3", "ascii"]),
    "encoding nobody knows": ("a.csv", HEAD, {"encoding": "utf-7b"}, ["'utf-7b'", "latin-1"]),
    "encoding of no text": ("a.csv", HEAD, {"encoding": "hex"}, ["'hex'", "latin-1"]),
    "no title column": ("a.csv", HEAD, {"title": "name"}, ["'name'", "`title: name`"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_file_place_and_remedy(tmp_path: Path, fault: str) -> None:
    name, content, settings_, words = FAULTS[fault]
    with pytest.raises(TransferError) as caught:
        read(tmp_path, name, content, **settings_)
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(tmp_path / name), *words]:
        assert word in message


def test_a_missing_file_names_both_places_and_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(TransferError) as caught:
        read_domain(Files(path="gone/a.csv"), tmp_path)
    for word in [str(tmp_path / "gone/a.csv"), str(Path("gone/a.csv").absolute()), "data_dir=...", "TRANSFER_DATA"]:
        assert word in str(caught.value)


def test_a_bad_row_of_parquet_is_named_by_its_number(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [1.0, float("nan")]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(TransferError, match=r"a\.parquet, row 2: rating nan"):
        read_domain(Files(path="a.parquet"), tmp_path)
    pl.DataFrame({"user": [1.5], "item": [1]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(TransferError, match=r"b\.parquet: column user holds Float64"):
        read_domain(Files(path="b.parquet"), tmp_path)


@pytest.mark.parametrize(("row", "words"), [("\tx", "empty item id"), ("x", "1 fields"), ("x\ty\tz", "3 fields")])
def test_faults_of_the_item_table_are_named_too(tmp_path: Path, row: str, words: str) -> None:
    write(tmp_path, "b.item", f"item_id:token\ttitle:token_seq\na\tA\n{row}\n")
    with pytest.raises(TransferError, match=rf"b\.item, line 3: {words}"):
        read(tmp_path, "b.inter", "user_id:token\titem_id:token\nu\tx\n")


# --- domain files and real data --------------------------------------------------------------------------------------


def test_any_two_files_are_a_world_from_the_command_line() -> None:
    both: Any = api.compose(["domain=files", "domain.source=A/movies.inter", "domain.target=A/books.inter"]).domain
    assert (both.source[0].path, both.target.path) == ("A/movies.inter", "A/books.inter")
    several = "domain.source=[a.csv,{path: b.csv, item: i}]"
    named: Any = api.compose(["domain=files", "domain.target.path=x.csv", "domain.target.user=who", several]).domain
    assert (named.target.path, named.target.user) == ("x.csv", "who")
    assert [(f.path, f.item) for f in named.source] == [("a.csv", None), ("b.csv", "i")]
    for side in ("source", "target"):
        with pytest.raises(TransferError, match="must be given: a file"):
            api.compose(["domain=files", f"domain.{side}=a.csv"])


@pytest.mark.parametrize("name", WORLDS)
def test_the_worlds_that_we_ship_are_read(data_dir: Path, name: str) -> None:
    config = domain_config(name)
    rows = {"amazon_movies_books": (38149, 68023), "amazon_movies_books_dated": (74629, 73576)}
    rows |= {"movielens_goodbooks": (298176, 100004), "movielens_bookcrossing": (204164, 100004)}
    start = time.perf_counter()
    domains = [read_domain(files, data_dir) for files in (config.target, *config.source)]
    assert time.perf_counter() - start < 2
    assert tuple(domain.events.height for domain in domains) == rows[name]
    for domain in domains:
        assert domain.events["rating"].null_count() == (domain.events.height if "dated" in name else 0)
        assert domain.events["item"].is_in(domain.items["item"].implode()).mean() > 0.97
        assert 0.2 < domain.items["title"].is_not_null().mean() <= 1


def test_a_missing_file_is_looked_for_once_where_both_places_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TransferError) as here:
        locate("gone.csv", tmp_path)
    with pytest.raises(TransferError) as elsewhere:
        locate("gone.csv", tmp_path / "data")
    assert str(here.value).count("gone.csv") == 1
    assert str(elsewhere.value).count("gone.csv") == 2

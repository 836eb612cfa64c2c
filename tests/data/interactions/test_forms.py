"""Files as people have them: the same events in every form are read as the same events, and what is refused says what to
write, which then works."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.api import compose
from transfer.config.domains import Files, ItemTable
from transfer.data.interactions import table
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.likes import counted, divided, prepared, rated_in, with_likes, with_ratings
from transfer.data.interactions.read import read_domain
from transfer.data.load import load_world, read_domains
from transfer.errors import TransferError
from transfer.storage import packed
from transfer.storage.memory import Free

Rows = list[tuple[str, str, float, int]]
NAMES = ("user", "item", "rating", "time")
SURE = ("Zoë", 'q"q,q', 2.5, 1_400_000_000)  # no other way of reading fits a file with this row


def zstd(data: bytes) -> bytes:
    """One frame with the data as they are, in blocks of 100 bytes (RFC 8878)."""
    blocks = [data[i : i + 100] for i in range(0, len(data), 100)] or [b""]
    heads = [(len(block) << 3 | (i == len(blocks) - 1)).to_bytes(3, "little") for i, block in enumerate(blocks)]
    body = b"".join(head + block for head, block in zip(heads, blocks, strict=True))
    return b"\x28\xb5\x2f\xfd\xe0" + len(data).to_bytes(8, "little") + body


def cells(rows: Rows, between: str, quoted: bool = True, header: bool = True, end: str = "\n", quote: str = '""') -> str:
    every = [list(NAMES)] * header + [[u, i, str(r), str(t)] for u, i, r, t in rows]
    one = lambda cell: f'"{cell.replace(chr(34), quote)}"' if quoted else cell  # noqa: E731
    return end.join(between.join(map(one, row)) for row in every) + end


def packed_in(encoding: str, rows: Rows) -> bytes:
    return gzip.compress(cells(rows, ",").encode(encoding))


def lines(rows: Rows, names: tuple[str, ...] = NAMES) -> str:
    return "\n".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows)


# The name of a form: its file, its bytes, what has to be said of it, signs that its ids cannot have.
Form = tuple[str, Callable[[Rows], bytes], dict[str, Any], str]
FORMS: dict[str, Form] = {
    "csv": ("a.csv", lambda r: cells(r, ",").encode(), {}, ""),
    "windows": ("A.CSV", lambda r: b"\xef\xbb\xbf" + cells(r, ",", end="\r\n").encode().rstrip(), {}, ""),
    "gzip": ("a.csv.gz", lambda r: gzip.compress(cells(r, ",").encode()), {}, ""),
    "members": ("A.CSV.GZ", lambda r: b"".join(gzip.compress(x.encode()) for x in cells(r, ",").partition(",")), {}, ""),
    "gzip by its name alone": ("a.csv.gz", lambda r: cells(r, ",").encode(), {}, ""),
    "zstd": ("a.csv.zst", lambda r: zstd(cells(r, ",").encode()), {}, ""),
    "headerless": ("a.csv", lambda r: cells(r, ",", header=False).encode(), {"header": False, "columns": NAMES}, ""),
    "named anew": ("a.csv", lambda r: cells(r, ",").encode(), {"header": True, "columns": NAMES}, ""),
    "colons": ("a.dat", lambda r: cells(r, "::", False).encode(), {"separator": "::"}, ":"),
    "colons, gzip": ("a.dat.gz", lambda r: gzip.compress(cells(r, "::", False).encode()), {"separator": "::"}, ":"),
    "three signs": ("a.txt.zst", lambda r: zstd(cells(r, "|#|", False).encode()), {"separator": "|#|"}, "|#"),
    "tabs": ("a.tsv.gz", lambda r: gzip.compress(cells(r, "\t").encode()), {}, ""),
    "tabs, no quotes": ("a.tsv", lambda r: cells(r, "\t", False).encode(), {"quoted": False}, ""),
    "semicolons": ("a.csv", lambda r: cells(r, ";").encode(), {"separator": ";"}, ""),
    "escaped": ("a.csv", lambda r: cells([SURE, *r], ",", quote='\\"').encode(), {}, "\\"),
    "latin-1": ("a.csv", lambda r: cells([SURE, *r], ",").encode("latin-1"), {"encoding": "latin-1"}, "latin-1"),
    "cp1252": ("a.csv.gz", lambda r: packed_in("cp1252", [SURE, *r]), {"encoding": "cp1252"}, "cp1252"),
    "utf-16 with a mark": ("a.csv", lambda r: cells(r, ",").encode("utf-16"), {}, ""),
    "utf-16": ("a.tsv", lambda r: cells(r, "\t").encode("utf-16-be"), {"encoding": "utf-16-be"}, ""),
    "old Mac": ("a.csv", lambda r: cells(r, ",", end="\r").encode(), {}, ""),
    "json lines": ("a.jsonl", lambda r: lines(r).encode(), {}, ""),
    "json, marked": ("A.JSON", lambda r: b"\xef\xbb\xbf" + lines(r).replace("\n", "\r\n\r\n").encode(), {}, ""),
    "json, gzip": ("a.json.gz", lambda r: gzip.compress(lines(r).encode()), {}, ""),
    "json, zstd": ("a.ndjson.zst", lambda r: zstd(lines(r).encode()), {}, ""),
    "json, latin-1": ("a.jsonl", lambda r: lines([SURE, *r]).encode("latin-1"), {"encoding": "latin-1"}, "latin-1"),
    "array": ("a.json", lambda r: json.dumps(list(map(json.loads, lines(r).split("\n"))), indent=1).encode(), {}, ""),
    "objects over lines": ("a.json", lambda r: lines(r).replace("{", "\n{\n").replace("}", "\n}").encode(), {}, "{}"),
}  # fmt: skip
IDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\ufeff"), min_size=1, max_size=6)
ROW = st.tuples(IDS, IDS, st.floats(-1e6, 1e6, width=32, allow_subnormal=False), st.integers(0, 10**11))


def events_of(path: str, folder: Path, **said: Any) -> pl.DataFrame:
    return read_domain(Files(path=path, **said), folder).events


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=5, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_the_same_events_in_every_form(form: str, rows: Rows) -> None:
    name, written, said, lacking = FORMS[form]
    if lacking in ("latin-1", "cp1252"):
        keep = lambda text: text.encode(lacking, "ignore").decode(lacking) or "x"  # noqa: E731
    else:
        keep = lambda text: re.sub(f"[{re.escape(lacking)}]", "", text) or "x" if lacking else text  # noqa: E731
    rows = [(keep(u), keep(i), r, t) for u, i, r, t in rows]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(written(rows))
        events = events_of(name, Path(folder), **said)
    assert dict(events.schema) == EVENTS
    assert events[-len(rows) :].equals(pl.DataFrame(rows, EVENTS, orient="row"))
    assert len(events) == len(rows) + (form in ("escaped", "latin-1", "cp1252", "json, latin-1"))


FIELDS: dict[str, tuple[dict[str, Any], float]] = {
    "Amazon 2014": (
        {"reviewerID": "A1", "asin": "0007", "overall": 5.0, "unixReviewTime": 1252800000, "helpful": [2, 3]},
        1252800000,
    ),
    "Amazon 2018": (
        {"overall": 5.0, "reviewTime": "09 13, 2009", "reviewerID": "A1", "asin": "0007", "style": {"Format:": "Hard"}},
        1252800000,
    ),
    "Amazon 2023": (
        {"rating": 5.0, "title": "Nice", "asin": "B0", "parent_asin": "0007", "user_id": "A1", "timestamp": 1588687728923},
        1588687728.923,
    ),
    "Goodreads": (
        {"user_id": "A1", "book_id": "0007", "rating": 5, "date_added": "Sat Nov 07 18:13:36 -0800 2015", "read_at": ""},
        1446948816,
    ),
}


@pytest.mark.parametrize("source", FIELDS)
def test_the_fields_of_public_collections_are_known(source: str, tmp_path: Path) -> None:
    fields, moment = FIELDS[source]
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(fields).encode()))
    assert events_of("a.json.gz", tmp_path).row(0) == ("A1", "0007", 5, moment)


def test_json_keeps_ids_whatever_they_are(tmp_path: Path) -> None:
    """Mixed types, 19 and 20 digits, leading zeros, numbers as strings, nested fields and fields that some lack."""
    ids: list[Any] = ["007", 7, 1234567890123456789, 98765432109876543210, 'é\u2028"\\', "1e3"]
    rows = [
        {"user": one, "item": "x", "rating": "4.5" if i % 2 else 4, "more": {"a": [1, {"b": 2}]}}
        for i, one in enumerate(ids)
    ]
    (tmp_path / "a.jsonl").write_text(
        "\n".join(map(json.dumps, [*rows, {"item": "x", "user": "last", "rating": 1, "new": 1}]))
    )
    events = events_of("a.jsonl", tmp_path)
    assert events["user"].to_list() == [*map(str, ids), "last"]
    assert events["rating"].to_list() == [4, 4.5, 4, 4.5, 4, 4.5, 1]


def test_fields_within_fields_are_columns(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"who": {"key": 1234567890123456789, "name": {"first": "A"}}, "item": {"id": "x"}, "tags": {"of": ["a", "b"]}},
        {"who": {"key": "07"}, "item": {"id": "y"}, "tags": None},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(
        TransferError, match=r"its columns are who\.key, who\.name\.first, item\.id, tags\.of; .*user=COLUMN"
    ):
        events_of("a.jsonl", tmp_path)
    events = events_of("a.jsonl", tmp_path, user="who.key")
    assert events.select("user", "item").rows() == [("1234567890123456789", "x"), ("07", "y")]
    found = table.open_table(tmp_path / "a.jsonl", table.Dialect()).rows.collect()
    assert found["tags.of"].to_list() == ["a|b", None]
    (tmp_path / "b.jsonl").write_text(json.dumps({"item": "x", "user": {f"u{i}": i for i in range(999)}}))
    with pytest.raises(TransferError, match="no column is recognised as the user; its columns are item;"):
        events_of("b.jsonl", tmp_path)


def test_csv_neighbours(tmp_path: Path) -> None:
    cases = {
        "an empty last column": ("user,item,rating,\nu,007,3,\nv,008,4,\n", [("u", "007"), ("v", "008")]),
        "a line end in quotes": ('user,item,rating\n"u\nv",b,3\n', [("u\nv", "b")]),
        "blank lines, no last end": ("\nuser,item,rating\n\nu,b,3\n\nv,c,4", [("u", "b"), ("v", "c")]),
        "a backslash at the end of a cell": ('user,item,rating\n"u\\",b,3\n"v","c",4\n', [("u\\", "b"), ("v", "c")]),
        "19 digits": ("user,item\n1234567890123456789,00\n", [("1234567890123456789", "00")]),
    }
    for name, (text, pairs) in cases.items():
        (tmp_path / "a.csv").write_text(text)
        assert events_of("a.csv", tmp_path).select("user", "item").rows() == pairs, name
    (tmp_path / "a.tsv").write_text('user\titem\ttitle\nu\tb\t12" single\nv\tc\t"open\n')
    assert events_of("a.tsv", tmp_path)["user"].to_list() == ["u", "v"], "quotes that fit no other way are text"
    (tmp_path / "a.tsv").write_text('user\titem\ttitle\nu\tb\t"a\ttab"\n')
    assert events_of("a.tsv", tmp_path)["user"].to_list() == ["u"]


def test_a_temporary_text_is_gone_with_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    (tmp_path / "a.dat").write_text(cells([SURE], "::", False))
    domain = read_domain(Files(path="a.dat", separator="::"), tmp_path)
    assert domain.events.height == 1
    assert not list(place.iterdir())


# --- several files ---------------------------------------------------------------------------------------------------


def write_parts(folder: Path, suffix: str) -> pl.DataFrame:
    rows = pl.DataFrame({"user": [f"u{i}" for i in range(9)], "item": ["007"] * 9, "rating": range(9)})
    for i in range(3):
        part = rows[3 * i : 3 * i + 3]
        part.write_csv(folder / f"r-{i}.csv") if suffix == "csv" else part.write_parquet(folder / f"r-{i}.parquet")
    return rows


def test_files_of_several_kinds_are_one(tmp_path: Path) -> None:
    (tmp_path / "r-0.jsonl").write_text('{"item": "w", "user": "z", "vote": 5}\n')
    (tmp_path / "r-1.jsonl").write_text('{"user": "a", "item": "007"}\n{"user": "b", "item": "x", "note": null}\n')
    (tmp_path / "r-2.csv").write_text("item,user,note\ny,c,\n\nz,d,1\n")
    pl.DataFrame({"user": [5], "item": [6], "note": [None]}).write_parquet(tmp_path / "r-3.parquet")
    domain = read_domain(Files(path="r-*"), tmp_path)
    pairs = [("z", "w"), ("a", "007"), ("b", "x"), ("c", "y"), ("d", "z"), ("5", "6")]
    assert domain.events.select("user", "item").rows() == pairs
    assert domain.notes == {"files": 4, "blank_lines": 1}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_several_files_are_one_in_the_order_of_their_names(suffix: str, tmp_path: Path) -> None:
    rows = write_parts(tmp_path, suffix)
    domain = read_domain(Files(path=f"r-*.{suffix}"), tmp_path)
    assert domain.events["user"].to_list() == rows["user"].to_list()
    assert domain.notes == {"files": 3}
    (tmp_path / f"r-3.{suffix}").write_bytes(gzip.compress(b"") if suffix == "csv" else b"")
    assert read_domain(Files(path=f"r-*.{suffix}"), tmp_path).notes == {"files": 3, "empty_files": 1}
    changed = rows[:1].select("rating", "item", "user").with_columns(rating=pl.lit(2.5), item=pl.lit(8))
    changed.write_csv(tmp_path / "r-4.csv") if suffix == "csv" else changed.write_parquet(tmp_path / "r-4.parquet")
    assert events_of(f"r-*.{suffix}", tmp_path).row(9) == ("u0", "8", 2.5, None), "another order and other types"


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, "csv")
    (tmp_path / "r-5.csv").write_text("user,item,stars\na,b,3\n")
    with pytest.raises(
        TransferError, match=r"r-5\.csv: its columns are user, item, stars, and those of r-0\.csv are .*the same"
    ):
        events_of("r-*.csv", tmp_path)
    (tmp_path / "r-5.csv").write_text("a,b,3\nb,c,4\n")
    with pytest.raises(TransferError, match=r"r-5\.csv.*its first line looks like a row: give it the header of r-0\.csv"):
        events_of("r-*.csv", tmp_path)
    (tmp_path / "r-5.csv").write_text("user,item,rating\na,b,3\n\nb,c,x\n")
    with pytest.raises(TransferError, match=r"r-5\.csv, line 4: rating 'x'"):
        events_of("r-*.csv", tmp_path)
    with pytest.raises(TransferError, match=r"no file .*s-\*\.csv"):
        events_of("s-*.csv", tmp_path)


def test_folders_of_parquet_are_columns(tmp_path: Path) -> None:
    for name in ("007", "a b"):
        place = tmp_path / "all" / f"kind={name.replace(' ', '%20')}"
        place.mkdir(parents=True)
        (place / "_SUCCESS").write_text("")
        pl.DataFrame({"user": [name], "item": ["x"]}).write_parquet(place / "p.PARQUET")
    config: Any = compose(
        ["domain=files", "domain.target={path: all, where: {kind: '007'}}", "domain.source={path: all, each: kind}"]
    )
    target, sources, _ = read_domains(config.domain, tmp_path)
    assert (target.events["user"].to_list(), [s.name for s in sources]) == (["007"], ["a b"])
    (tmp_path / "csvs").mkdir()
    with pytest.raises(TransferError, match=r"csvs: a folder without Parquet files; write csvs/\*\.csv"):
        events_of("csvs", tmp_path)


# --- what is refused says what to write, and that works --------------------------------------------------------------

TEXT = cells([("Zoë", "b", 3.0, 1_400_000_000), ("v", "“c”", 4.0, 1_400_000_001)], ",", False)
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "no header": ("a.csv", TEXT.partition("\n")[2].encode(), "line 1"),
    "another separator": ("a.csv", TEXT.replace(",", ";").encode(), "line 1"),
    "colons without a header": ("a.dat", TEXT.partition("\n")[2].replace(",", "::").encode(), "unknown format"),
    "tabs": ("a.data", TEXT.replace(",", "\t").encode(), "unknown format"),
    "cp1252": ("a.csv", TEXT.encode("cp1252"), "line 2"),
    "latin-1, gzip": ("a.csv.gz", gzip.compress(TEXT.replace("“", "").replace("”", "").encode("latin-1")), "line 2"),
    "utf-16 without a mark": ("a.csv", TEXT.encode("utf-16-le"), "line 1"),
    "utf-16 of English": ("a.csv", TEXT.replace("ë", "e").encode("utf-16-be"), "line 1"),
    "no user": ("a.csv", (TEXT + ",b,3,1400000000\n").encode(), "line 4"),
    "no user in JSON": ("a.jsonl", b'{"user": "Zo\xc3\xab", "item": "b"}\n\n{"user": null, "item": "b"}\n', "line 3"),
    "no rating": ("a.csv", (TEXT + "w,b,,1400000000\n").encode(), "line 4"),
    "a word for no rating": ("a.csv", (TEXT + "w,b,NA,1400000000\n").encode(), "line 4"),
    "quotes that are text": ("a.csv", 'user,item,name\nZoë,b,"x\nv,c,"y" z\n'.encode(), "cannot be parsed"),
}


@pytest.mark.parametrize("place", ["target", "source", "list"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_says_what_to_write(case: str, place: str, tmp_path: Path) -> None:
    name, data, where = REFUSED[case]
    (tmp_path / "good.csv").write_text(TEXT)
    (tmp_path / name).write_bytes(data)
    given = {"target": [name, "good.csv"], "source": ["good.csv", name], "list": ["good.csv", f"[{name},good2.csv]"]}[place]
    (tmp_path / "good2.csv").write_text(TEXT)
    words = [f"domain.target={given[0]}", f"domain.source={given[1]}"]

    def read(*words: str) -> list[Domain]:
        config: Any = compose(["domain=files", *words])
        target, sources, _ = read_domains(config.domain, tmp_path)
        return [target, *sources]

    with pytest.raises(TransferError) as refused:
        read(*words)
    message = str(refused.value)
    assert str(tmp_path / name) in message
    assert where in message
    said = re.search(r"write (.*?)(?: reads | in the place of |; else |$)", message)
    assert said, message
    more = shlex.split(said[1])
    if place == "list":
        assert message.endswith("in the list domain.source") or " reads " in message
        words[1] = f"domain.source=[{more[0]},good2.csv]"
        more = []
    domain = next(domain for domain in read(*words, *more) if domain.files and domain.files.path == name)
    assert domain.events["user"][0] in ("Zoë", "Zoe")
    assert domain.events.height >= 1


@pytest.mark.parametrize(
    ("name", "data", "said", "words"),
    [
        ("a.json", b"{'user': 'a', 'item': 'b'}\n", {}, ["line 1", "json.dumps"]),
        ("a.jsonl", b'{"user": "a", "item": "b"}\n{"user": "a", "item":}\n', {}, ["line 2", "not JSON"]),
        ("a.jsonl", b'{"user": "a", "item": "b"}\n[1]\n', {}, ["line 2", "no object"]),
        ("a.jsonl", b'{"user": "a", "item": "b", "rating": NaN}\n', {}, ["line 1", "NaN"]),
        ("a.json", b'[{"user": "a", "item": "b"}, {"user": "c"', {}, ["line 1", "not JSON"]),
        ("a.json", b'[{"user": "a", "item": "b"},\n{"user": "c", "item": "d"},\n', {}, ["line 3", "not JSON"]),
        ("a.json", b'[{"user": "a", "item": "b"}, 5]', {}, ["entry 2"]),
        ("a.json", b"[]", {}, ["not JSON"]),
        ("a.jsonl", b'{"who": "a", "item": "b"}\n', {}, ["its columns are who, item", "domain.target.user=COLUMN"]),
        ("a.csv.gz", gzip.compress(TEXT.encode() * 9)[:-30], {}, ["ends too early"]),
        ("a.csv.gz", b"\x1f\x8b" + b"x" * 50, {}, ["damaged gzip"]),
        ("a.csv.zst", zstd(TEXT.encode())[:-30], {}, ["a.csv.zst"]),
        ("a.csv.zst", zstd(TEXT.encode("cp1252")), {"encoding": "cp1252"}, ["zstd -d a.csv.zst"]),
        ("a.csv", "user,item\nué,b\n".encode(), {"encoding": "latin-1"}, ["it is UTF-8"]),
        ("a.csv", TEXT.encode("cp1252"), {"encoding": "latin-1"}, ["line 3", "domain.target.encoding=cp1252"]),
        ("a.zip", b"PK\x03\x04", {}, ["unzip a.zip"]),
        ("a.pkl", b"\x80\x04", {}, ["not read", "CSV or Parquet"]),
        ("a.csv", b"u,b,3\n", {"header": False}, ["what are its columns", "'domain.target.columns=[user,item,rating]'"]),
        ("a.csv", TEXT.encode(), {"columns": NAMES}, ["line 1", "'rating'", "domain.target.header=true"]),
        ("a.dat", b"user::item\na::b::c\n", {"separator": "::"}, ["line 2", "3 fields"]),
        ("a.jsonl", b'{"user": "a", "item": "b"}\n{"user": "\xe9", "item": "b"}\n', {}, ["line 2", "encoding=latin-1"]),
        ("a.csv", b"user,item,rating,note\na,b,3,\xe9\na,c,x,z\n", {}, ["line 2", "encoding=latin-1"]),
        ("a.csv", b"user\titem\na\tb\n", {}, ["line 1", "'domain.target.separator=\"\\t\"'"]),
        ("a.csv", b"user,item\n,b\n", {"without_user": "skip"}, ["all 1 rows are without a user"]),
        ("a.csv", b"user,item,user\na,b,c\n", {}, ["line 1", "two columns are called 'user'"]),
        ("a.jsonl", b'{"user": "a", "item": "b"}\n', {"columns": ("user", "item")}, ["`columns`", "leave it out"]),
        ("a.dat", b"user::item\na::b\n", {"separator": "::", "quoted": True}, ["leave `quoted` out"]),
        ("a.csv", b"user,item\na,b\n", {"unrated": ("0",)}, ["`unrated`", "domain.target.rating=COLUMN"]),
    ],
)  # fmt: skip
def test_faults_of_these_forms(name: str, data: bytes, said: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TransferError) as refused:
        events_of(name, tmp_path, **said)
    for word in [str(tmp_path / name), *words]:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)


# --- what is no rating, and nobody's rows ----------------------------------------------------------------------------


def test_a_rating_that_is_none_is_no_like_and_not_learnt_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,rating\na,i,0\na,j,5\na,k,2\nb,i,\nb,j,0.0\n")
    whole = read_domain(Files(path="a.csv", unrated=("0", ""), positive=4, scale=(1, 5)), tmp_path)
    assert whole.events["rating"].to_list() == [None, 5, 2, None, None]
    assert whole.notes == {"unrated": 3}
    liked, others = divided(whole.events, whole)
    assert (liked["item"].to_list(), others["item"].to_list()) == (["j"], ["i", "k", "i", "j"])
    assert rated_in(with_likes(whole)).height == 5
    assert with_ratings(whole).events["rating"].to_list() == [5, 2]
    assert prepared(with_ratings(whole).events, whole, False, (1, 5)).height == 2
    every = read_domain(Files(path="a.csv", unrated=("0", "")), tmp_path)
    assert divided(every.events, every)[0].height == 5
    assert counted(every) == "every event, rated or not"
    alone = Domain("x", whole.events.with_columns(rating=pl.lit(None, pl.Float32)), whole.items, positive=4)
    assert with_ratings(alone).events.height == divided(alone.events, alone)[0].height == 5, "no ratings at all: as before"
    with pytest.raises(TransferError, match=r"line 2: rating '0' is outside"):
        events_of("a.csv", tmp_path, unrated=("",), scale=(1, 5))


def test_worlds_with_unrated_events_fit_both_tasks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"b{i}", int(rng.integers(0, 6))) for u in range(40) for i in rng.choice(20, 10, replace=False)]
    pl.DataFrame(rows, ["user", "item", "rating"], orient="row").write_csv(tmp_path / "a.csv")
    own = [
        "domain=files",
        "domain.target={path: a.csv, unrated: 0, positive: 4, scale: [1,5]}",
        "domain.source=null",
        "split=ratio",
    ]
    liked = sum(r >= 4 for *_, r in rows)
    rated = sum(r > 0 for *_, r in rows)
    for task, count in (("ranking", liked), ("rating", rated)):
        config: Any = compose([*own, f"task={task}", f"data_dir={tmp_path}"])
        loaded: Any = load_world(config, None)
        parts = [loaded.summary["target"][part]["events"] for part in ("train", "valid", "test")]
        assert sum(parts) <= count < len(rows)
        assert sum(parts) >= 0.9 * count
        assert np.isfinite(np.asarray(loaded.world.target.train.ratings)).all()
        if task == "ranking":  # what is unrated is known, too
            assert int(loaded.world.rated.starts[-1]) >= 0.8 * (len(rows) - liked)


def test_nobodys_rows_are_left_out_on_request_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\n,i\na,j\n  ,k\n\n")
    domain = read_domain(Files(path="a.csv", without_user="skip"), tmp_path)
    assert domain.events["item"].to_list() == ["j"]
    assert domain.notes == {"rows_without_user": 2, "blank_lines": 1}


# --- tables of items -------------------------------------------------------------------------------------------------

TITLES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "csv": ("t.csv.gz", gzip.compress(b"key,item,title,genres\nb,z,B,x|y\n"), {}),
    "tsv": ("t.tsv", b"key\titem\ttitle\tgenres\nb\tz\tB\tx|y\n", {}),
    "json": ("t.json", b'{"key": "b", "item": "z", "title": "B", "genres": [["x", "y"]], "also": {"a": 1}}\n', {}),
    "array": ("t.json", b'[{"key": "b", "item": "z", "title": "B", "genres": ["x", "y"]}]', {}),
    "colons": ("t.dat", "b::B::x|y::é\n".encode("latin-1"),
               {"columns": ("key", "title", "genres", "more"), "separator": "::", "encoding": "latin-1"}),
}  # fmt: skip


@pytest.mark.parametrize("form", TITLES)
def test_a_table_of_items_has_its_own_key_in_every_form(form: str, tmp_path: Path) -> None:
    name, data, said = TITLES[form]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "a.csv").write_text("user,item\nu,b\n")
    domain = read_domain(Files(path="a.csv", items=ItemTable(path=name, item="key", **said)), tmp_path)
    assert domain.items.select("item", "title", "genres").rows() == [("b", "B", "x|y")]


# --- limits ----------------------------------------------------------------------------------------------------------


def test_what_would_unpack_without_end_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rle = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"a"  # 128 KiB in four bytes
    end = (1).to_bytes(3, "little")
    (tmp_path / "a.csv.zst").write_bytes(b"\x28\xb5\x2f\xfd\x00\x58" + rle * 40_000 + end)
    with pytest.raises(TransferError, match=r"a\.csv\.zst: it would unpack to more than 250 times"):
        events_of("a.csv.zst", tmp_path)
    monkeypatch.setattr(packed, "FREE", 2**20)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"user,item\n" + b"a,b\n" * 2**19))
    with pytest.raises(TransferError, match=r"a\.csv\.gz: it would unpack to more than 250 times"):
        events_of("a.csv.gz", tmp_path)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"user,item\n" + b"a,b\n" * 2**17))
    assert events_of("a.csv.gz", tmp_path).height == 2**17


def test_columns_beyond_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("user,item\n" + "a,b\n" * 10_000)
    assert events_of("a.csv", tmp_path).height == 10_000
    monkeypatch.setattr(table, "host_memory", lambda: Free(10_000, "of this machine"))
    with pytest.raises(TransferError, match=r"a\.csv: its columns need more than .* GiB that are free of this machine"):
        events_of("a.csv", tmp_path)

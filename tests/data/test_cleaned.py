"""Cleaned domains are kept on disk: the same domains without reading, and read anew whenever a file has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest

import transfer
from transfer.api import compose
from transfer.data import load
from transfer.data.cleaned import Cleaned, kept_or_read

Read = Callable[[], tuple[Cleaned, int]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Domains of files of every kind of column, as a new process has them, and how often files were read for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lines = [f"u{i % 7},b{i % 11},{i % 5 + 1},{1000 + i}\n" for i in range(60)]  # pairs are repeated
    Path("books.csv").write_text("user,item,rating,timestamp\n" + "".join(lines))
    Path("titles.csv").write_text("item,title,pages\nb0,One,3\nb1,Two,\nb99,Never read,5\n")
    films = [f'{{"user": "u{i % 9}", "item": "m{i % 5}", "kind": "{"drama" if i % 2 else "comedy"}"}}\n' for i in range(45)]
    Path("films.jsonl").write_text("".join(films))
    target = "domain.target={path: books.csv, scale: [1, 5], positive: 4, disliked: 2, items: {path: titles.csv}}"
    words = ["domain=files", target, "domain.source={path: films.jsonl, each: kind}", "domain.duplicates=last"]
    config = compose([*words, "split=cold_start"])
    assert config.domain.kind == "files"
    count = 0

    def counted() -> Cleaned:
        nonlocal count
        count += 1
        return load.read_domains(config.domain, Path())  # type: ignore[arg-type]

    def domains() -> tuple[Cleaned, int]:
        return kept_or_read(counted, config.domain, Path()), count  # type: ignore[arg-type]

    return domains


def same(ours: Cleaned, theirs: Cleaned) -> None:
    assert ours[2] == theirs[2]
    assert len(ours[1]) == len(theirs[1]) == 2
    for one, other in zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True):
        for field in fields(one):
            left, right = getattr(one, field.name), getattr(other, field.name)
            if isinstance(left, pl.DataFrame):
                assert left.schema == right.schema
                assert left.equals(right), field.name
            else:
                assert left == right, field.name


def test_what_is_kept_is_what_was_read(read: Read) -> None:
    first, one = read()
    again, still_one = read()
    assert (one, still_one) == (1, 1)
    same(again, first)
    assert first[0].events["rating"].null_count() == 0
    assert first[1][0].events["rating"].null_count() == len(first[1][0].events), "no rating stays no rating"


def _changed(path: Path) -> None:
    path.write_text(path.read_text().replace("u6,", "u5,"))


def _touched(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize("file", ["books.csv", "titles.csv", "films.jsonl"])
@pytest.mark.parametrize("happens", [_changed, _touched, Path.touch])
def test_a_file_that_may_have_changed_is_read_anew(read: Read, file: str, happens: Callable[[Path], None]) -> None:
    read()
    happens(Path(file))
    anew, count = read()
    assert count == 2
    same(read()[0], anew)


def test_a_damaged_entry_counts_as_missing(read: Read, tmp_path: Path) -> None:
    first, _ = read()
    (entry,) = (tmp_path / "cache" / "transfer" / "domains").iterdir()
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(bytes(content))
    anew, count = read()
    assert count == 2
    same(anew, first)
    entry.write_bytes(entry.read_bytes()[:100])
    assert read()[1] == 3


def test_a_cache_that_cannot_be_written_stops_nothing(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cache").write_text("a file where a folder should be")
    assert read()[0][0].name == "books"
    assert "domains are not kept" in capsys.readouterr().err


def test_what_is_given_from_python_is_not_kept(read: Read, tmp_path: Path) -> None:
    source, target = (
        transfer.domain(
            events={"user": [f"u{i % 9}" for i in range(63)], "item": [f"{name}{i % 7}" for i in range(63)]}, name=name
        )
        for name in ("films", "books")
    )
    run = transfer.run(["method=popularity", "split=ratio", "domain.core=1"], source=source, target=target)
    assert run.facts["status"] == "done"
    assert not (tmp_path / "cache" / "transfer" / "domains").exists()

"""`transfer describe`: what would be read, what files share, and a command that runs as it is printed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from transfer.__main__ import COMMANDS, help_text, main
from transfer.api import compose, run
from transfer.commands.describe import main as describe
from transfer.config.schema import Config
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.overview import overview, scale_of, shared
from transfer.errors import TransferError
from transfer.experiment.checks import check_settings


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Films and books of the same 60 people, the same books of others, half of the books again, strangers with zeros."""
    rng = np.random.default_rng(0)

    def rated(people: str, things: str, low: int = 1) -> pl.DataFrame:
        rows = [
            (f"{people}{u}", f"{things}{i}", int(rng.integers(low, 6)), 1_400_000_000 + 90_000 * u)
            for u in range(60)
            for i in rng.choice(25, 10, replace=False)
        ]
        return pl.DataFrame(rows, ["user_id", "item_id", "rating", "timestamp"], orient="row")

    tables = {"films": rated("u", "f"), "books": rated("u", "b"), "others": rated("v", "b"), "zeros": rated("w", "z", 0)}
    tables["half"] = tables["books"][::2]
    for name, table in tables.items():
        table.write_csv(tmp_path / f"{name}.csv")
    (tmp_path / "books.dat").write_text("\n".join("::".join(map(str, row)) for row in tables["books"].rows()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFER_DATA", raising=False)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, list[str]]:
    """What is printed of files, and the words of the command to begin with."""
    assert describe(list(words)) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("  transfer ")]
    return out, shlex.split(line)[1:]


def test_what_would_be_read_and_what_is_shared(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, words = printed(capsys, "films.csv", "books.csv")
    for said in (
        "columns   user user_id, item item_id, rating rating, time timestamp, title none",
        "events    600 of 60 users on 25 items; 10 to 10 of each user, median 10",
        "ratings   1 to 5, 5 values",
        "times     2014-05-13 to 2014-07-14",
        "books.csv and films.csv share 60 users (of 60 and 60), 0 items (of 25 and 25), 0 pairs of them",
    ):
        assert said in out
    assert "method=user_knn" in words
    pl.read_csv(files / "books.csv").rename({"rating": "mark"}).write_csv(files / "marks.csv")
    found, _ = printed(capsys, "marks.csv")
    assert "rating none" in found
    assert "not used  mark" in found
    config: Config = compose(words)
    assert (config.domain.target.path, config.domain.target.positive) == ("books.csv", 4)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "sources", "note"),
    [
        (("films.csv", "books.csv"), ["films.csv"], None),
        (("others.csv", "books.csv"), ["others.csv"], None),
        (("half.csv", "films.csv", "books.csv"), ["films.csv"], "half.csv: left out of the command, for many"),
        (("zeros.csv", "books.csv"), [], "zeros.csv: left out of the command, for it shares neither"),
        (("zeros.csv",), [], 'ratings of 0; if they mean "not rated", say unrated=0'),
        (('{path: books.dat, separator: "::", columns: [user, item, rating, time]}',), [], None),
        (("films.csv", "others.csv", "books.csv"), ["films.csv"], None),
    ],
)
def test_the_command_to_begin_with_fits(
    given: tuple[str, ...], sources: list[str], note: str | None, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = printed(capsys, *given)
    config = compose(words)
    assert [source.path for source in config.domain.source] == sources  # type: ignore[union-attr]
    check_settings(config)
    assert note is None or note in out
    assert ("left out" in out or "say " in out) == (note is not None)


@pytest.mark.parametrize(
    "given",
    [
        ("films.csv", "books.csv"),
        ("others.csv", "books.csv"),
        ("books.dat", 'separator="::"', "columns=[user,item,rating,time]"),
    ],
)
def test_the_command_runs_as_it_is_printed(given: tuple[str, ...], files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(printed(capsys, *given)[1])
    assert result.status == "done"
    assert result.metrics["test"]["ndcg@10"] > 0


def test_a_refused_file_says_what_to_write_here(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TransferError) as refused:
        describe(["books.dat"])
    found = str(refused.value).partition("write ")[2]
    assert found.endswith("in the place of books.dat in transfer describe")
    assert "600 of 60 users on 25 items" in printed(capsys, shlex.split(found)[0])[0]
    for words, message in (
        (["{separator: x}"], "which file"),
        (["header=false"], "which file"),
        (["{path: books.csv, uesr: x}"], "uesr"),
        (["{path: books.csv"], "write '{path: FILE"),
        (["{path: books.csv, each: rating}"], "one with where"),
    ):
        with pytest.raises(TransferError, match=message):
            describe(words)


def test_a_word_of_its_own_begins_the_command(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "reviews.csv").write_text("review,sentiment\na good film,good\n")
    (files / "prices.csv").write_text("text,target\n" + "".join(f"a film,{number / 2}\n" for number in range(50)))
    monkeypatch.setattr(sys, "argv", ["transfer", "describe", "books.csv"])
    main()
    assert "600 of 60 users" in capsys.readouterr().out
    for words, code, said in (
        (["describe", "gone.csv"], 2, "no file"),
        (["describe", "boks.csv"], 2, "boks.csv; did you mean books.csv? correct the path"),
        (["--multrun", "seed=0"], 2, "--multrun: no such option; did you mean --multirun?"),
        (["describe", "reviews.csv"], 2, "sentiment looks like a label"),
        (["describe", "prices.csv"], 2, "target looks like numbers to predict; labelled examples begin with transfer -m"),
        (["descrbe"], 2, "did you mean describe?"),
        (["describe"], 2, ""),
    ):
        monkeypatch.setattr(sys, "argv", ["transfer", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code
        assert said in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(sys, "argv", ["transfer", "describe", "--help"])
    main()
    assert "usage: transfer describe FILE" in capsys.readouterr().out
    assert all(f"transfer {word}" in help_text() for word in COMMANDS)


def test_counts_by_hand() -> None:
    def domain(*rows: tuple[str, str, float | None]) -> Domain:
        events = pl.DataFrame([(*row, None) for row in rows], EVENTS, orient="row")
        return Domain("x", events, events.select("item", title=pl.lit(None, pl.String)))

    one = domain(("1", "a", 1), ("1", "a", 5), ("2", "b", None), ("1", "c", 3))
    other = domain(("1", "a", 1), ("3", "b", 1))
    assert overview(one) == (4, 2, 3, (1, 2, 3), 1, (1, 5, 3), 1, None)
    assert shared(one, other) == (1, 2, 1, True)
    assert not shared(one, domain(("x", "a", 1))).numbered
    for ratings, scale in (
        ((1, 5), (1, 5, 4)),
        ((0, 10), (0, 10, 8)),
        ((0, 1), (0, 1, 1)),
        ((0.5, 5), (0.5, 5, 4)),
        ((3, 3), None),
    ):
        found = scale_of(overview(domain(*(("u", str(i), r) for i, r in enumerate(ratings)))))
        assert (found and (*found[0], found[1])) == scale

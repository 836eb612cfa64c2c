"""transfer recommend: titles from a run folder and the data alone, lists of everybody, clear refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from planted import atomic_files

from transfer.api import run
from transfer.commands import recommend
from transfer.errors import TransferError
from transfer.results.predictor import Recommendation


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return atomic_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def shelf(files: Path) -> Path:
    """The folder of a run on files that have titles."""
    domain = ("domain=files", f"domain.target={files}/books.inter", f"domain.source={files}/movies.inter")
    folder = files / "run"
    run([*domain, "task=rating", "method=source_bias", "split.seed=1"], folder)
    return folder


def titles(files: Path) -> dict[str, str]:
    return dict(pl.read_csv(files / "books.item", separator="\t").iter_rows())


def test_recommend_prints_titles(shelf: Path, files: Path) -> None:
    words = [sys.executable, "-m", "transfer", "recommend", shelf, "--users", "u00003,u00007", "--k", "4"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "for u00003" in done.stdout
    assert "for u00007" in done.stdout
    rows = [line for line in done.stdout.splitlines() if "book0" in line]
    assert len(rows) == 8
    for row in rows:
        item = next(word for word in row.replace("│", " ").split() if word.startswith("book0"))
        assert titles(files)[item] in row


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_recommend_writes_the_lists_of_everybody(ending: str, shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / f"lists.{ending}"
    recommend.main([str(shelf), "--k", "3", "--out", str(out)])
    table = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert table.columns == ["user", "rank", "item", "title", "score"]
    assert table.height == 3 * table["user"].n_unique() > 300
    assert table["title"].null_count() == 0
    (best,) = recommend.load_with_data(shelf).recommend(["u00003"], 1)["u00003"]
    assert table.filter(user="u00003", rank=1)["item"].item() == best.item


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--users", "nobody"], "user 'nobody' is unknown"),
        ([], "--users"),
        (["--out", "lists.xls"], ".parquet"),
        (["--users", "u00003", "--k", "0"], "--k 0"),
    ],
)
def test_recommend_refuses_in_one_line(words: list[str], says: str, shelf: Path) -> None:
    with pytest.raises(TransferError) as caught:
        recommend.main([str(shelf), *words])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


NASTY = {
    "[paperback]": "[paperback]",
    "a [/b] title": "a [/b] title",
    "\x1b[2Jgone": "\N{REPLACEMENT CHARACTER}[2Jgone",
    "two\nlines": "two\N{REPLACEMENT CHARACTER}lines",
}


def test_titles_of_others_are_shown_as_they_are_and_obeyed_by_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = [Recommendation(i + 1, f"[i{i}]", title, 0.5) for i, title in enumerate(NASTY)]
    recommend.show({"for [/u]": lines})
    shown = capsys.readouterr().out
    assert all(title in shown for title in [*NASTY.values(), "for [/u]", "[i0]"])
    assert "\x1b" not in shown


def test_exported_lists_hold_no_formulas_and_parquet_the_raw_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "1-2", None]
    made = {"u=1": [Recommendation(i + 1, f"i{i}", title, -0.5) for i, title in enumerate(titles)]}
    fake = SimpleNamespace(recommend=lambda users, k, **_: made, loaded=SimpleNamespace(users=["u=1"], items=["i1"]))
    monkeypatch.setattr(recommend, "load_with_data", lambda run_dir: fake)
    recommend.main([str(tmp_path), "--k", "8", "--out", str(tmp_path / "a.csv")])
    recommend.main([str(tmp_path), "--k", "8", "--out", str(tmp_path / "a.parquet")])
    wanted = [f"'{title}" for title in titles[:6] if title] + ["1-2", None]
    table = pl.read_csv(tmp_path / "a.csv")
    assert table["title"].to_list() == wanted
    assert table["score"].to_list() == [-0.5] * 8, "numbers stay numbers"
    assert pl.read_parquet(tmp_path / "a.parquet")["title"].to_list() == titles


def test_recommend_refuses_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="not a run folder") as caught:
        recommend.main([str(tmp_path), "--users", "u00003"])
    assert "\n" not in str(caught.value)


def test_candidates_of_each_reader(shelf: Path, tmp_path: Path) -> None:
    predictor = recommend.load_with_data(shelf)
    whole = {user: [line.item for line in of] for user, of in predictor.recommend(["u00003", "u00007"], 40).items()}
    stock = {user: items[5:9] for user, items in whole.items()}
    pl.DataFrame([(user, item) for user, of in stock.items() for item in of], ["user", "item"], orient="row").write_csv(
        tmp_path / "stock.csv"
    )
    out = tmp_path / "lists.parquet"
    recommend.main([str(shelf), "--k", "3", "--candidates", str(tmp_path / "stock.csv"), "--out", str(out)])
    table = pl.read_parquet(out)
    for user, items in stock.items():
        assert table.filter(user=user)["item"].to_list() == items[:3], "the order of the whole list, among hers alone"
    assert table["user"].n_unique() == 2, "who is not in the table gets no list"
    words = [str(shelf), "--candidates", str(tmp_path / "stock.csv")]
    with pytest.raises(TransferError, match="none for user 'u00009'"):
        recommend.main([*words, "--users", "u00003,u00009"])
    with pytest.raises(TransferError, match="new readers have no lists of their own"):
        recommend.main([*words, "--history", '{"movies": []}'])
    (tmp_path / "stock.csv").write_text("user,item\nu00003,b1\nu00003,\n")
    with pytest.raises(TransferError, match="row 3: no item"):
        recommend.main([*words, "--users", "u00003"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_lists_are_written_as_they_are_made_and_take_their_place_when_whole(
    ending: str, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"lists.{ending}"
    recommend.main([str(shelf), "--k", "3", "--out", str(out)])
    monkeypatch.setattr(recommend, "TOGETHER", 17)
    parts = tmp_path / f"parts.{ending}"
    recommend.main([str(shelf), "--k", "3", "--out", str(parts)])
    assert (
        parts.read_bytes() == out.read_bytes() if ending == "csv" else pl.read_parquet(parts).equals(pl.read_parquet(out))
    )
    before = out.read_bytes()

    def broken(users: list[str], k: int, **_: object) -> dict[str, list[Recommendation]]:
        made.append(len(list(tmp_path.glob(".lists*/*"))))
        if len(made) == 3:
            raise TransferError("no more")
        return {user: [Recommendation(1, "b1", None, 0.5)] for user in users}

    made: list[int] = []
    fake = SimpleNamespace(recommend=broken, loaded=SimpleNamespace(users=[f"u{i}" for i in range(60)], items=["b1"]))
    monkeypatch.setattr(recommend, "load_with_data", lambda run_dir: fake)
    with pytest.raises(TransferError, match="no more"):
        recommend.main([str(tmp_path), "--out", str(out)])
    assert made[2] > 0, "what was made stood on the disk"
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, parts.name]), "and is gone"

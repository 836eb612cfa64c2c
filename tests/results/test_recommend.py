"""scripts/recommend.py: titles from a run folder and the data alone, lists of everybody, clear refusals."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import polars as pl
import pytest
from planted import atomic_files

from transfer.api import run
from transfer.errors import TransferError
from transfer.results.predictor import Recommendation

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return atomic_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recommend", ROOT / "scripts" / "recommend.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    words = [sys.executable, ROOT / "scripts" / "recommend.py", shelf, "--users", "u00003,u00007", "--k", "4"]
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
def test_recommend_writes_the_lists_of_everybody(ending: str, shelf: Path, script: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / f"lists.{ending}"
    script.recommend(shelf, None, 3, out)
    table = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert table.columns == ["user", "rank", "item", "title", "score"]
    assert table.height == 3 * table["user"].n_unique() > 300
    assert table["title"].null_count() == 0
    (best,) = script.load_run(shelf).predictor.recommend(["u00003"], 1)["u00003"]
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
def test_recommend_refuses_in_one_line(
    words: list[str], says: str, shelf: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["recommend.py", str(shelf), *words])
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert str(caught.value.code).startswith("error: ")
    assert says in str(caught.value.code)
    assert "\n" not in str(caught.value.code)


NASTY = {
    "[paperback]": "[paperback]",
    "a [/b] title": "a [/b] title",
    "\x1b[2Jgone": "\N{REPLACEMENT CHARACTER}[2Jgone",
    "two\nlines": "two\N{REPLACEMENT CHARACTER}lines",
}


def test_titles_of_others_are_shown_as_they_are_and_obeyed_by_nobody(
    script: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = [Recommendation(i + 1, f"[i{i}]", title, 0.5) for i, title in enumerate(NASTY)]
    script._print({"for [/u]": lines})
    shown = capsys.readouterr().out
    assert all(title in shown for title in [*NASTY.values(), "for [/u]", "[i0]"])
    assert "\x1b" not in shown


def test_exported_lists_hold_no_formulas_and_parquet_the_raw_text(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "1-2", None]
    made = {"u=1": [Recommendation(i + 1, f"i{i}", title, -0.5) for i, title in enumerate(titles)]}
    fake = SimpleNamespace(recommend=lambda users, k: made, loaded=SimpleNamespace(users=["u=1"]))
    monkeypatch.setattr(script, "_load", lambda run_dir: fake)
    script.recommend(tmp_path, None, 8, tmp_path / "a.csv")
    script.recommend(tmp_path, None, 8, tmp_path / "a.parquet")
    wanted = [f"'{title}" for title in titles[:6] if title] + ["1-2", None]
    table = pl.read_csv(tmp_path / "a.csv")
    assert table["title"].to_list() == wanted
    assert table["score"].to_list() == [-0.5] * 8, "numbers stay numbers"
    assert pl.read_parquet(tmp_path / "a.parquet")["title"].to_list() == titles


def test_recommend_refuses_what_is_no_run_folder(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="not a run folder") as caught:
        script.recommend(tmp_path, ["u00003"], 5, None)
    assert "\n" not in str(caught.value)

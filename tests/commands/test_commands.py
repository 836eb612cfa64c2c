"""Words that a command may begin with: what was run, what differs, lists for new readers; refusals in one line."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pairs import files
from sweeps import USERS, write_run

from transfer.api import run
from transfer.commands import compare, export, method, recommend, runs
from transfer.errors import TransferError


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf") / "run"
    run([*files(), "method=ease"], folder)
    return folder


def test_new_readers_have_lists_from_a_file(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"user": "ann", "movies": ["m0", "m3"]}, {"movies": ["m2"], "books": ["b2"]}]
    (tmp_path / "readers.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (tmp_path / "read.txt").write_text("b5\n\n")
    words = [str(shelf), "--history", str(tmp_path / "readers.jsonl"), "--exclude", str(tmp_path / "read.txt")]
    assert recommend.main([*words, "--k", "9", "--out", str(tmp_path / "lists.parquet")]) == 0
    table = pl.read_parquet(tmp_path / "lists.parquet")
    assert table["user"].unique(maintain_order=True).to_list() == ["ann", "line 2"]
    assert set(table.filter(user="ann")["item"].head(2)) == {"b0", "b3"}
    assert not {"b2", "b5"} & set(table.filter(user="line 2")["item"])
    capsys.readouterr()
    export.main([str(shelf)])
    assert recommend.main([str(shelf), "--history", json.dumps(lines[0]), "--k", "2"]) == 0
    assert "for ann" in (said := capsys.readouterr().out)
    assert "Book a" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"movies": [1]}', '--history: 1 is no item; write "id"'),
        ('{"movies": ["m0", ["m1", true]]}', "is no item"),
        ('{"movies": "m0"}', "'movies' has no list of items"),
        ('{"movies": ["m0"', "no JSON"),
        ("nowhere.jsonl", "neither a JSON object nor a file"),
        ('{"movies": ["m0"]}\n[]', "line 2: write"),
        ('{"user": "a"}\n{"user": "a"}', "two readers have one name"),
        ('{"games": ["m0"]}\n', "no domain 'games' here"),
        ("\n\n", "there is no reader in it"),
        ('{"movies": [["m0", NaN]]}', "the rating of 'm0' in movies is no finite number"),
    ],
)
def test_what_is_no_history_is_refused(given: str, message: str, shelf: Path, tmp_path: Path) -> None:
    if "\n" in given:
        (tmp_path / "readers.jsonl").write_text(given)
        given = str(tmp_path / "readers.jsonl")
    with pytest.raises(TransferError, match=message.replace("(", r"\(")):
        recommend.main([str(shelf), "--history", given])


def test_runs_are_listed_with_their_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a" / "0", "method=popularity", values=np.full(USERS, 0.25))
    write_run(tmp_path / "b", "method=emcdr", "seed=3", values=np.full(USERS, 0.5))
    broken = write_run(tmp_path / "c", "method=emcdr", values=np.full(USERS, 0.5))
    (broken / "result.json").write_text("{")
    assert runs.main([str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    (first,), (second,), (third,) = ([line for line in lines if line and line[0] == name] for name in ("a/0", "b", "c"))
    assert first[1:3] == ["popularity", "simulated"]
    assert first[-1] == "0.2500"
    assert second[1] == "emcdr"
    assert second[3] == "3"
    assert "unreadable" in third
    with pytest.raises(TransferError, match="no such folder"):
        runs.main([str(tmp_path / "nowhere")])


def test_two_runs_are_compared_by_setting_figure_and_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.4, USERS)
    first = write_run(tmp_path / "0", "method=popularity", values=values)
    second = write_run(tmp_path / "1", "method=emcdr", values=values + 0.1)
    assert compare.main([str(first), str(second)]) == 0
    said = capsys.readouterr().out
    assert "method.name" in said
    assert "popularity" in said
    assert "B − A: +0.1000 (better; 95 % interval +0.1" in said
    same = write_run(tmp_path / "2", "method=popularity", values=values)
    compare.main([str(first), str(same)])
    assert "no setting differs" in (said := capsys.readouterr().out)
    assert "B − A: 0.0000" in said or "B − A: +0.0000" in said
    other = write_run(tmp_path / "3", "method=emcdr", values=values, fingerprint="another world")
    compare.main([str(first), str(other)])
    assert "not tested: they are not on the same world" in capsys.readouterr().out
    with pytest.raises(TransferError, match="not the folder of a finished run"):
        compare.main([str(first), str(tmp_path)])


def test_run_and_sweep_are_words_for_what_goes_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transfer import __main__ as cli

    seen: list[list[str]] = []
    monkeypatch.setattr(cli, "command", lambda: seen.append(sys.argv[1:]) or 0)
    for words in (["run", "seed=1"], ["sweep", "seed=1,2"], ["seed=1"]):
        monkeypatch.setattr(sys, "argv", ["transfer", *words])
        cli.main()
    assert seen == [["seed=1"], ["-m", "seed=1,2"], ["seed=1"]]


def test_a_method_says_what_it_needs_and_can_be_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transfer import __main__ as cli
    from transfer.registry import names

    monkeypatch.setattr(sys, "argv", ["transfer", "ease", "--help"])
    cli.main()
    said = capsys.readouterr().out
    assert "B = I - P diag(1 / diag P)" in said
    assert "tasks  ranking" in said
    assert re.search(r"hp\.ridge +1000  above 0\n", said)
    assert "method.domains=both   of both, target" in said
    for name in names("methods"):
        assert f"method={name}" in method.page(name)

"""Parts of the page: the question, the time it took, many worlds, factors, who loses, tables for a paper."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sweeps import EXAMPLES, USERS, write_run, write_sweep

from transfer.errors import TransferError
from transfer.report.comparison.average import compare_all
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.runs import read_runs
from transfer.report.page import grid, head
from transfer.report.page.ablation import ablation
from transfer.report.page.distribution import gains_of_readers
from transfer.report.page.latex import latex
from transfer.report.page.page import write_report
from transfer.report.page.source_heatmap import heatmap
from transfer.report.page.words import lead

NAMES = ("amazon", "dslr", "webcam")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Comparison]:
    """Six pairs of three domains; coral gains 0.1 everywhere but on dslr, where it loses as much."""
    folder = tmp_path_factory.mktemp("pairs")
    for source in NAMES:
        for target in NAMES:
            for method in ("source_only", "coral") if source != target else ():
                gain = 0.0 if method == "source_only" else -0.1 if target == "dslr" else 0.1
                world = {**EXAMPLES, "target": {**EXAMPLES["target"], "name": target}, "sources": [{"name": source}]}
                words = (f"method={method}", f"domain.source={source}", f"domain.target={target}")
                place = folder / f"{source}-{target}-{method}"
                write_run(place, *words, values=[0.5 + gain] * USERS, task="classification", world=world, uses_source=True)
    return compare_all(read_runs(folder))


def told(comparisons: list[Comparison]) -> str:
    return head.question(comparisons, "sweep")


def test_the_question_names_who_helps_whom(tmp_path: Path, pairs: list[Comparison]) -> None:
    assert told(pairs) == "amazon, dslr and webcam: does one help to classify another?"
    write_run(tmp_path / "0", "method=emcdr", values=[0.5] * USERS)
    assert told(compare_all(read_runs(tmp_path))) == "Do movies help to recommend books?"
    alone = write_sweep(tmp_path / "alone", {"target_only": 0.0, "popularity": 0.1})
    assert told(compare_all(read_runs(alone))) == "Which method is best to recommend books?"
    assert told([]) == "sweep"


def test_wall_clock_time_counts_a_program_once_and_no_night_between_two(tmp_path: Path) -> None:
    spent = {"load": 5.0, "compile": 20.0, "train": 30.0, "evaluate": 5.0}
    ends = (
        "2026-05-01T10:01:00+00:00",
        "2026-05-01T10:01:00+00:00",
        "2026-05-01T10:01:30+00:00",
        "2026-05-02T08:00:00+00:00",
    )
    for number, end in enumerate(ends):
        write_run(tmp_path / str(number), f"seed={number}", values=[0.5] * USERS, ended=end, seconds=spent, commit="abc")
    runs = read_runs(tmp_path)
    assert head.wall(runs) == 60 + 30 + 60
    assert head.ended(runs) == "2 May 2026, 08:00 UTC"
    assert head.commits(runs) == ["abc"]
    assert (head.spoken(4.2), head.spoken(150), head.spoken(7500)) == ("4.2 s", "2 min 30 s", "2 h 5 min")
    write_run(tmp_path / "9", "seed=9", values=[0.5] * USERS, ended="tomorrow")
    assert head.wall(read_runs(tmp_path)) == 150


def test_a_grid_of_pairs_is_one_table_and_one_picture_a_method(pairs: list[Comparison]) -> None:
    board = grid.overview(pairs)
    assert board is not None
    rows = {row[0].text: row for row in board.rows}
    assert len(rows) == 7
    assert rows["amazon → dslr"][-1].text == "−0.1000"
    assert rows["dslr → amazon"][-1].text == "+0.1000"
    (picture,) = grid.pictures(pairs)
    assert "dslr → webcam: +0.1000 over source_only, not tested" in picture.svg
    assert picture.svg.count("var(--bad)") == 2
    assert picture.svg.count("var(--good)") == 4


def test_what_each_source_gains_alone_is_one_picture_of_all_targets(tmp_path: Path) -> None:
    alone = {
        "books": {"<b>films</b>": 0.02, "games": -0.01},
        "music": {"<b>films</b>": 0.004, "games": 0.008, "books": 0.0},
    }
    for number, (target, gains) in enumerate([("books", "books"), ("books", "books"), ("music", "music")]):
        world = {"target": {"name": target}, "sources": [{"name": name} for name in alone[gains]]}
        found = {name: gain + (0.002 if number == 1 else 0.0) for name, gain in alone[gains].items()}
        words = ("method=residual_map", f"domain.target={target}", f"split.seed={number}")
        write_run(tmp_path / str(number), *words, values=[0.5] * USERS, world=world, source_alone=found)
    (picture,) = heatmap(compare_all(read_runs(tmp_path)))
    assert "games → books: -0.0090" in picture.svg, "the mean over draws"
    assert "books → books" not in picture.svg
    assert picture.svg.index("b&gt;films") < picture.svg.index("games →"), "what gains most on the mean comes first"
    assert "<b>" not in picture.svg
    assert picture.caption.endswith("books: <b>films</b>; music: games."), "of a page that escapes what it shows"
    assert "each source by itself" in write_report(tmp_path).read_text()
    only = [run for run in read_runs(tmp_path) if run.result["world"]["target"]["name"] == "books"]
    assert heatmap(compare_all(only)) == [], "of one target there is a table"


def test_many_worlds_are_folded_and_told_apart_by_what_differs(tmp_path: Path) -> None:
    for number in range(12):
        words = ("method=emcdr", f"domain.correlation=0.{number:02d}")
        write_run(tmp_path / str(number), *words, values=[0.5] * USERS)
    comparisons = compare_all(read_runs(tmp_path))
    board = grid.overview(comparisons)
    assert board is not None
    assert board.rows[3][0].text == "domain.correlation=0.03"
    assert {row[board.heads.index("reference")].text for row in board.rows} == {"none"}, "no run could be it"
    text = write_report(tmp_path).read_text()
    assert text.count('class="folded"') == 11
    assert text.count("<svg") < 2 * 12
    assert grid.overview(comparisons[:1]) is None
    assert grid.pictures(comparisons) == []


def test_an_ablation_has_a_factor_a_column_and_the_change_from_the_chosen(tmp_path: Path) -> None:
    number = 0
    for l2, ridge, quality in ((1.0, 1.0, 0.5), (2.0, 1.0, 0.4), (1.0, 9.0, 0.45)):
        for split in range(3):
            words = ("method=emcdr", f"hp.l2={l2}", f"hp.ridge={ridge}", f"split.seed={split}")
            noise = 0.01 * split * (quality == 0.4)
            write_run(tmp_path / str(number), *words, values=[quality + noise] * USERS)
            number += 1
    (only,) = compare_all(read_runs(tmp_path))
    board = ablation(only)
    assert board is not None
    assert board.heads[:3] == ["method", "hp.l2", "hp.ridge"]
    rows = [[cell.text for cell in row] for row in board.rows]
    assert rows[0][:3] == ["emcdr ★", "1", "1"]
    assert rows[0][-2:] == ["chosen", "–"]
    assert rows[1][1:3] == ["1", "9"]
    assert rows[1][-2] == "−0.0500"
    assert rows[2][-2] == "−0.0900"
    low, high = (float(word.replace("−", "-")) for word in rows[2][-1].split(" to "))
    half = 4.302653 * np.std([0.1, 0.09, 0.08], ddof=1) / np.sqrt(3)
    assert (low, high) == (pytest.approx(-0.09 - half, abs=1e-4), pytest.approx(-0.09 + half, abs=1e-4))
    assert "all settings" in latex([only]).partition(r"\begin{table*}")[2], "across both columns"


def test_the_distribution_of_gains_says_how_many_lose(tmp_path: Path) -> None:
    gains = np.where(np.arange(USERS) % 4 == 0, -0.1, 0.2)
    write_run(tmp_path / "0", "method=popularity", values=[0.5] * USERS)
    write_run(tmp_path / "1", "method=emcdr", values=0.5 + gains)
    (only,) = compare_all(read_runs(tmp_path))
    (figure,) = gains_of_readers(only)
    assert "emcdr: worse for 25%, better for 75%, median +0.2000" in figure.caption
    write_run(tmp_path / "1" / "x", "method=popularity", values=[0.5] * USERS)
    (alone,) = compare_all([run for run in read_runs(tmp_path) if run.result["method"] == "popularity"])
    assert gains_of_readers(alone) == []


def test_the_winner_is_the_choice_of_validation_and_not_of_the_test(tmp_path: Path) -> None:
    for number, (method, valid, test) in enumerate([("cmf", 0.5, 0.3), ("emcdr", 0.4, 0.9), ("popularity", 0.1, 0.6)]):
        metrics = {"valid": {"ndcg@10": valid}, "test": {"ndcg@10": test}}
        write_run(tmp_path / str(number), f"method={method}", values=[test] * USERS, metrics=metrics)
    (only,) = compare_all(read_runs(tmp_path))
    assert [one.method for one in only.best] == ["cmf", "emcdr", "popularity"]
    said = " ".join(lead(only))
    assert said.startswith("cmf is the choice of validation among 3 methods: its test ndcg@10 is 0.3000")
    assert "On the test emcdr comes out first with 0.9000, which nobody could have chosen by." in said


def test_a_table_for_a_paper_is_narrow_and_has_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    comparisons = compare_all(read_runs(write_sweep(tmp_path / "S", {"target_only": 0.0, "emcdr": 0.08})))
    text = latex(comparisons)
    rows = [line for line in text.splitlines() if " & " in line]
    assert rows[0] == r"method & test ndcg@10 & gap & verdict \\", "the caption says to what"
    assert rows[1].startswith(r"\textbf{emcdr} & \textbf{0.4")
    assert r"\textbf" not in rows[2]
    assert max(len(re.sub(r"\\textbf|[{}$\\]", "", row)) for row in rows) < 60
    (heads,) = [line for line in latex(comparisons, ("method", "p", "recall")).splitlines() if line.startswith("method")]
    assert heads == r"method & p & recall@10 \\"
    assert latex(comparisons, ["all"]).count(" & ") > 30
    with pytest.raises(TransferError, match="columns: 'verdct' is none; did you mean verdict"):
        latex(comparisons, ("verdct",))
    with pytest.raises(TransferError, match="columns: 'verdct'"):
        write_report(tmp_path / "S", columns=("verdct",))
    assert not (tmp_path / "S" / "index.html").exists(), "nothing is written then"

"""Tables on the screen: what fits 80 columns, which columns give way, drawn numbers, metrics by list length."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from sweeps import USERS, write_run, write_sweep

from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.runs import read_runs
from transfer.report.run_table import metric_table
from transfer.report.sweep_table import Column, digits, fitting, sweep_table

METHODS = {"target_only": 0.0, "importance_weighting": 0.08, "subspace_alignment": -0.02}


def seen(table: Table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    (only,) = compare(read_runs(write_sweep(tmp_path_factory.mktemp("screen") / "S", METHODS)))
    return only


@pytest.mark.parametrize("width", [60, 80, 180])
def test_a_line_holds_the_whole_name_the_figure_and_the_verdict(planted: Comparison, width: int) -> None:
    lines = seen(sweep_table(planted, width), width)
    assert max(map(len, lines)) <= width
    for method in METHODS:
        (row,) = [line for line in lines if line.startswith(f"{method} ")]
        assert "±" in row
    text = " ".join(" ".join(lines).split())
    assert "reference: target_only, best without a source on validation" in text
    assert ("no room for" in text) == (width < 180)
    (row,) = [line for line in lines if line.startswith("importance_weighting")]
    assert "helps" in row


def test_columns_give_way_by_rank_and_keep_their_order() -> None:
    columns = [Column("name", ["a" * 10], 0), Column("less", ["b" * 10], 2), Column("more", ["c" * 10], 1)]
    assert [each.head for each in fitting(columns, 34)] == ["name", "less", "more"]
    assert [each.head for each in fitting(columns, 33)] == ["name", "more"]
    assert [each.head for each in fitting(columns, 5)] == ["name"], "the name stays whatever the width"


def test_what_a_search_drew_has_three_digits_and_is_sorted(tmp_path: Path) -> None:
    for number, (rate, quality) in enumerate([("0.0123456789", 0.2), ("0.00098765432", 0.4), ("0.0012", 0.3)]):
        write_run(tmp_path / str(number), "method=cmf", f"hp.learning_rate={rate}", values=[quality] * USERS)
    (only,) = compare(read_runs(tmp_path))
    rows = [line.split() for line in seen(sweep_table(only, 80), 80) if line.startswith("cmf")]
    assert [row[:3] for row in rows] == [
        ["cmf", "*", "0.000988"],
        ["cmf", "0.0012", rows[1][2]],
        ["cmf", "0.0123", rows[2][2]],
    ]
    assert (digits("0.1"), digits("popularity"), digits("1234567.123")) == ("0.1", "popularity", "1.23e+06")


def test_metrics_of_a_run_stand_by_list_length_with_a_star_at_what_selects() -> None:
    facts = {"select": {"metric": "ndcg@10"}, "method": "ease", "domain": "books", "task": "ranking", "status": "done"}
    test = {"ndcg@5": 0.1, "ndcg@10": 0.2, "recall@5": 0.3, "recall@10": 0.4}
    text = "\n".join(seen(metric_table(facts, {"ndcg@10": 0.25}, test), 80))
    row = next(line for line in text.splitlines() if "ndcg" in line)
    assert [word for word in row.split() if word[0].isdigit() or word == "*"] == ["0.1000", "0.2000", "*"]
    facts["select"]["metric"] = "rmse"  # type: ignore[index]
    plain = "\n".join(seen(metric_table(facts, {"rmse": 0.9}, {"rmse": 1.0, "mae": 0.5}), 80))
    assert "rmse *" in plain
    assert "0.9000" in plain

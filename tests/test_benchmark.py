"""The benchmark's own arithmetic, and that its parts are there; what it measures is not tested here."""

from __future__ import annotations

import csv
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
KEPT = sorted((ROOT / "experiments" / "benchmarks").glob("*.csv"))


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield importlib.import_module("benchmark")
    for name in [name for name in sys.modules if name.split(".")[0] in ("benchmark", "benchmarks")]:
        del sys.modules[name]


def test_ratios_are_taken_within_a_turn_and_told_by_their_median(benchmark: ModuleType) -> None:
    measuring = importlib.import_module("benchmarks.measuring")
    called: list[str] = []

    def seconds(name: str, *values: float) -> object:
        left = iter(values)
        return lambda: called.append(name) or next(left)

    measured = {"unit": seconds("unit", 1.0, 2.0, 10.0), "other": seconds("other", 3.0, 4.0, 50.0)}
    assert measuring.in_turns(measured, "unit", 3, lambda: called.append("first")) == [
        measuring.Row("other", "unit", 3.0, 2.0, 5.0, 3)
    ]
    assert called == ["first", *["unit", "other"] * 3]


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said(benchmark: ModuleType) -> None:
    measuring = importlib.import_module("benchmarks.measuring")
    with pytest.raises(SystemExit, match="no such thing"):
        measuring.run([sys.executable, "-c", "raise SystemExit('no such thing')"])
    assert measuring.processor_seconds([sys.executable, "-c", "sum(range(10**6))"]) > 0


def test_a_part_writes_its_table_and_the_machine(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring = importlib.import_module("benchmarks.measuring")
    rows = [measuring.Row("a, b", "c", 2.0, 1.0, 3.14159265, 4)]
    monkeypatch.setattr(importlib.import_module("benchmarks.load"), "measure", lambda arguments: rows)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "load", "--out", str(tmp_path)])
    benchmark.main()
    told = list(csv.reader((tmp_path / "load.csv").read_text().splitlines()))
    assert told == [["what", "of", "ratio", "low", "high", "turns"], ["a, b", "c", "2", "1", "3.142", "4"]]
    assert json.loads((tmp_path / "load.json").read_text())["versions"]["jax"]
    assert "2 x c" in capsys.readouterr().out


def test_without_a_card_the_table_of_one_is_small_and_kept_only_where_it_is_asked_to_be(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = importlib.import_module("benchmarks.gpu")
    monkeypatch.setattr(gpu, "WORK", {"ranking": gpu.WORK["ranking"]})
    monkeypatch.setattr(benchmark, "KEPT", tmp_path / "kept")
    words = ["benchmark.py", "gpu", "--scale", "0.001", "--turns", "1"]
    monkeypatch.setattr(sys, "argv", words)
    benchmark.main()
    assert "no card here, these are figures of a CPU at scale 0.001: the table is not kept" in capsys.readouterr().out
    assert not (tmp_path / "kept").exists()
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "mine")])
    benchmark.main()
    rows = list(csv.DictReader((tmp_path / "mine" / "gpu.csv").read_text().splitlines()))
    assert [row["of"] for row in rows] == ["the measured copy bandwidth", "the measured matrix rate"]
    assert all(0 < float(row["ratio"]) < 2 for row in rows)
    facts = json.loads((tmp_path / "mine" / "gpu.json").read_text())
    assert facts["scale"] == 0.001
    assert facts["copied_gb_per_second"] > 0


def test_a_fraction_is_work_by_second_over_the_rate_of_the_same_turn(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = importlib.import_module("benchmarks.card")
    rates = iter([100.0, 50.0])
    monkeypatch.setattr(card, "copied_per_second", lambda scale: next(rates))
    monkeypatch.setattr(card, "operations_per_second", lambda scale: 10.0)
    work = card.Work("copying", lambda: 2.0, moved=20.0, operations=10.0)
    copied, multiplied = card.fractions([work], 2, 1.0)
    assert copied[:5] == ("copying", card.COPY, pytest.approx(0.15), pytest.approx(0.1), pytest.approx(0.2))
    assert multiplied[2:] == (0.5, 0.5, 0.5, 2)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("sweep", "scatter-add", "tables", "sasrec")]


@pytest.mark.parametrize("name", ["implicit", *SLOW])
def test_every_kind_of_work_of_a_card_can_be_tried_on_a_cpu(name: str, benchmark: ModuleType) -> None:
    if name == "sasrec":
        pytest.importorskip("torch")
    if name == "implicit":
        pytest.importorskip("implicit")
    rows = importlib.import_module("benchmarks.gpu").WORK[name](0.001, 1)
    assert rows
    assert all(row.turns == 1 for row in rows)


def test_every_part_can_be_measured(benchmark: ModuleType) -> None:
    for part in benchmark.PARTS:
        assert callable(importlib.import_module(f"benchmarks.{part}").measure)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_tables_have_their_machine_beside_them(path: Path, benchmark: ModuleType) -> None:
    assert path.stem in benchmark.PARTS
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert rows
    assert all(float(row["low"]) <= float(row["ratio"]) <= float(row["high"]) for row in rows)
    assert json.loads(path.with_suffix(".json").read_text())["processors"]

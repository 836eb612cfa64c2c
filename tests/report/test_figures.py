"""Studies that are scripts: tables are made of the committed figures, and a figure that is off is found."""

from __future__ import annotations

import importlib.util
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pytest

from transfer.report.figures import Near, differing, settle

STUDIES = Path(__file__).parents[2] / "experiments"
NEAR = Near(relative=0.01, absolute=1e-4, free=("seconds",))


def study(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, STUDIES / name / "evaluate.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("online_simulated", ("tests", "the best arm is left", 0)),
        ("open_bandit", ("coverage", "usual limits", "far", "dr", 2)),
    ],
)
def test_the_table_is_made_of_the_expected_figures(name: str, place: tuple[Any, ...]) -> None:
    expected = json.loads((STUDIES / name / "expected.json").read_text(encoding="utf-8"))
    of = study(name)
    assert (STUDIES / name / "table.md").read_text(encoding="utf-8") == of.tables(expected)
    other = json.loads(json.dumps(expected))
    assert differing(other, expected, of.NEAR) == []
    inner = other
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] -= 0.05
    (line,) = differing(other, expected, of.NEAR)
    assert line.startswith("/" + "/".join(map(str, place)) + ": ")


def test_figures_are_the_same_within_what_is_near_and_where_anything_goes() -> None:
    nan = float("nan")
    expected = {"a": [1.0, 2.0], "b": {"c": 100.0, "seconds": 3.0}, "n": 7, "none": nan}
    assert differing({"a": [1.009, 2.0], "b": {"c": 99.1}, "n": 7, "none": nan}, expected, NEAR) == []
    found = {"a": [1.011, 2.0], "b": {"c": 98.9, "seconds": 3.0}, "n": 8, "none": 0.0}
    assert [line.split(":")[0] for line in differing(found, expected, NEAR)] == ["/a/0", "/b/c", "/n", "/none"]
    assert differing({"x": 1.0, "seconds": 2.0}, {"seconds": 3.0}, NEAR) == ["/x: 1.0, expected None"]
    assert differing({"b": [1.0]}, {"b": {"c": 1.0}}, NEAR) == ["/b: [1.0], expected {'c': 1.0}"]
    assert differing({"a": [1.0], "b": {}}, expected, NEAR) == [
        "/a: [1.0], expected [1.0, 2.0]",
        "/b/c: None, expected 100.0",
        "/n: None, expected 7",
        "/none: None, expected nan",
    ]


def test_a_script_compares_accepts_and_runs_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, figure = tmp_path / "evaluate.py", {"small": 0.0, "whole": 1.0}

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["evaluate.py", *words])
        status = 0
        try:
            settle(script, of, lambda found: f"| {found['x']} |\n", NEAR, ArgumentParser())
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out + said.err

    def of(asked: Namespace) -> dict[str, Any]:
        return {"x": figure["small" if asked.quick else "whole"]}

    status, said = run()
    assert status == 2
    assert "expected.json is not there" in said
    assert run("--accept")[0] == 0
    assert json.loads((tmp_path / "expected.json").read_text()) == {"x": 1.0}
    assert (tmp_path / "table.md").read_text() == "| 1.0 |\n"
    assert run() == (0, '{\n "x": 1.0\n}\nall figures are the expected ones\n')
    assert run("--quick") == (0, '{\n "x": 0.0\n}\n')
    assert run("--quick", "--accept")[0] == 2
    figure["whole"] = 1.1
    status, said = run()
    assert status == 1
    assert said.endswith("/x: 1.1, expected 1.0\n")
    assert json.loads((tmp_path / "expected.json").read_text()) == {"x": 1.0}

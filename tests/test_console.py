"""What is seen of a stage: lines where nobody sees a bar, a bar in a notebook, and how to go on after a stop."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from planted import RATING, WORLD

from transfer import console
from transfer.api import run, sweep
from transfer.results.run_folder import status

SMALL = (*RATING, *WORLD, "method=target_only", "model.dim=8", "train.batch_size=256", "train.epochs=6")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_lines_come_seldom_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    for shown in (False, True):
        with console.Progress("source", "rmse", shown) as progress:
            for second in range(1, 30):
                clock.now += 1
                progress.update([{"loss": 0.5, "rmse": 1.25}, {}], 100 * second, 9000)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (3 if shown else 0), "after 2, 12 and 22 seconds"
    assert lines[1] == "source: step 1,200 of at most 9,000  loss 0.5000  rmse 1.2500  100 steps/s"


def test_a_notebook_has_a_bar_in_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            shown.append(data)

    def display(data: dict[str, str], **how: Any) -> Handle:
        shown.append(data)
        return Handle()

    notebook = ModuleType("IPython.display")
    notebook.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    monkeypatch.setattr(console.console, "is_jupyter", True)
    with console.Progress("<b>", "rmse", True) as progress:
        progress.update([{"loss": 0.5, "rmse": 1.25}], 10, 40)
    assert shown[0] == {"text/plain": "<b>: compiling"}
    assert shown[1]["text/html"].startswith('<progress value="10" max="40"></progress> &lt;b&gt;: step 10 of at most 40')
    assert shown[2]["text/html"] == "", "as a bar on a terminal it is gone at its end"
    with console.Progress("x", "rmse", False) as progress:
        progress.update([{"loss": 0.5, "rmse": 1.25}], 10, 40)
    assert len(shown) == 3, "train.progress=false shows nothing"


def test_a_stop_in_python_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("transfer.training.stages.interrupted", lambda: True)
        with pytest.raises(KeyboardInterrupt):
            run(SMALL, folder)
        assert f"transfer.run({list(SMALL)}, '{folder}')" in capsys.readouterr().err.replace("\n", "")
        assert status(folder) == "interrupted"
        with pytest.raises(KeyboardInterrupt):
            sweep([*SMALL, "seed=0,1"], tmp_path / "sweep")
        assert "the same call, transfer.sweep(" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            run(SMALL)
        assert "nothing is kept without folder=" in capsys.readouterr().err
    result = run(SMALL, folder)
    assert "resuming stage target" in capsys.readouterr().err
    assert result.status == "done"
    assert result.plot().svg.count("<circle") == 1
    assert result.per_user is not None
    assert result.per_user["id"].to_list() == [result.predictor.loaded.users[i] for i in result.per_user["user"]]
    assert result.plot().save(tmp_path / "curve.svg").read_text() == (folder / "learning_curve.svg").read_text()

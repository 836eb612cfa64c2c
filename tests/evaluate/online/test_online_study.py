"""The committed figures of experiments/online_simulated: the table is made of them, and a figure that is off is found."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "experiments" / "online_simulated"


def study() -> Any:
    spec = importlib.util.spec_from_file_location("online_simulated", FOLDER / "evaluate.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def test_the_table_is_made_of_the_expected_figures() -> None:
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    of = study()
    assert (FOLDER / "table.md").read_text(encoding="utf-8") == of.tables(expected)
    assert expected["worlds"] == len(of.WORLDS) == 20
    other = json.loads(json.dumps(expected))
    assert of.differing(other, expected) == []
    other["tests"]["the best arm is left"][0] -= 0.05
    (line,) = of.differing(other, expected)
    assert line.startswith("/tests/the best arm is left/0: ")

"""The house: every room says what lives in it, files have one subject, and what moved says where it went."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
from conftest import LONG

import transfer

PACKAGE = Path(transfer.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
AT_THE_TOP = {"__init__", "__main__", "api", "composing", "sklearn", "program", "registry", "errors", "console"}


def test_only_the_ways_in_and_the_contracts_lie_at_the_top() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == AT_THE_TOP


@pytest.mark.parametrize("room", [path.parent for path in FILES if path.name == "__init__.py"], ids=lambda room: room.name)
def test_a_room_says_what_lives_there_and_what_must_not(room: Path) -> None:
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    assert said
    if room != PACKAGE:
        assert any(word in said.split() for word in ("No", "Nothing", "None")), said


def test_no_file_has_two_subjects() -> None:
    assert {path.name: lines for path in FILES if (lines := len(path.read_text().splitlines())) > 300} == {}
    assert not [path for path in FILES if path.stem in ("utils", "helpers", "common", "misc")]


def test_every_module_says_what_it_is() -> None:
    assert [path for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("transfer.models.histories", "transfer.solvers.histories"),
        ("transfer.supervised", "transfer.learning.supervised"),
        ("transfer.track", "transfer.results.run_folder"),
        ("transfer.data.world", "transfer.data.interactions.world"),
        ("transfer.progress", "transfer.console"),
    ],
)
def test_what_moved_says_where_it_went(old: str, new: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"{old} is now {new}"):
        importlib.import_module(old)
    importlib.import_module(new)
    package, _, leaf = old.rpartition(".")
    with pytest.raises(ModuleNotFoundError, match=f"is now {new}"):
        __import__(package, fromlist=[leaf])


def test_every_old_name_leads_to_a_module() -> None:
    for place, words in transfer._MOVED.items():
        for word in words.split():
            old, _, new = word.partition(":")
            importlib.import_module(".".join(part for part in ("transfer", place, new or old.rpartition(".")[2]) if part))


def test_the_tests_that_begin_first_are_there() -> None:
    assert [name for name in LONG if not (Path(__file__).parent / f"{name}.py").is_file()] == []

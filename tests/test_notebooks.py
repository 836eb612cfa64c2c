"""The notebooks of examples/: every cell runs, and what its last line shows can be shown."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def executed(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """Names after all cells of code, and what the last line of each is, as a kernel would have it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    return names, shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_once_showed(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None] == []


def test_movies_to_books(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFER_DATA", raising=False)
    names, (run, sweep, figure, people, books) = executed(Path(NOTEBOOKS[0].parent / "movies_to_books.ipynb"))
    assert "<table>" in run._repr_html_()
    assert "<table>" in sweep._repr_html_()
    assert figure._repr_html_().startswith("<svg")
    assert "var(--" not in figure.svg, "names of the page's colours mean nothing elsewhere"
    assert "#5d666e" in figure.svg, "that of its small letters"
    assert set(people["id"]) <= set(names["run"].predictor.loaded.users)
    assert len(books) == 5
    means = dict(sweep.summary().select("setting", "test/ndcg@10").iter_rows())
    assert means["user_knn"] > means["popularity"], "the simulated movies say something"


def test_labelled_examples() -> None:
    _, (_, sweep, figure, accuracy) = executed(Path(NOTEBOOKS[0].parent / "labelled_examples.ipynb"))
    assert len(sweep) == 6
    assert all(run.done for run in sweep.runs)
    assert figure._repr_html_().startswith("<svg")
    assert accuracy > 0.8

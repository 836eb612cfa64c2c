"""What a run found between films and books: planted pairs come first."""

from __future__ import annotations

from pathlib import Path

import pytest
from pairs import FOLDS_IN, PAIRS, files, outcome

from transfer.api import compose, run
from transfer.commands import explain as explain_command
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.registry import find, names
from transfer.results.explain import explain, find_films


def test_the_methods_that_fold_in_say_so() -> None:
    ranking = [name for name in names("methods") if "ranking" in find("methods", name).NEEDS.tasks]
    assert set(FOLDS_IN) < set(ranking)
    for method in (*FOLDS_IN, "popularity", "cmf"):
        assert outcome(method).predictor.program.folds_in == (method != "cmf")


@pytest.mark.parametrize("method", [*FOLDS_IN, "cmf"])
def test_every_film_is_explained_by_its_own_book(method: str) -> None:
    predictor = outcome(method).predictor
    films = find_films(predictor, [f"m{n}" for n in range(PAIRS - 1)])
    lists = explain(predictor, films, 3)
    assert [lines[0].item for lines in lists] == [f"b{n}" for n in range(PAIRS - 1)]
    for lines in lists:
        if method != "user_knn":  # it counts what neighbours have, whether that film tells of it or not
            assert lines[0].score > 1.4 * abs(lines[1].score)
        assert [line.rank for line in lines] == [1, 2, 3]
        assert "b7" not in {line.item for line in lines}, "it has no title"


def test_popularity_finds_nothing_between_films_and_books() -> None:
    predictor = outcome("popularity").predictor
    (lines,) = explain(predictor, find_films(predictor, ["m0"]), 3)
    assert all(line.score == 0 for line in lines)


def test_a_film_of_ridge_map_is_its_row_of_weights() -> None:
    result = outcome("ridge_map")
    (film,) = find_films(result.predictor, ["film c"])
    (lines,) = explain(result.predictor, [film], PAIRS - 1)
    assert (film.item, film.title) == ("m2", "The Film c")
    weights = result.parameters["map"]["weights"][film.number]
    items = result.predictor.loaded.items
    for line in lines:
        assert line.score == pytest.approx(weights[items.index(line.item)], abs=1e-6)


def test_the_command_explains_by_title(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([*files(), "method=ridge_map"], tmp_path / "run")

    def call(*words: str) -> str:
        explain_command.main([str(tmp_path / "run"), *words])
        return capsys.readouterr().out

    said = call("film b, m3", "--k", "1")
    assert "people who loved The Film b" in said
    assert "Book b" in said
    assert "Book d" in said
    assert call().count("people who loved The Film") == 5
    with pytest.raises(TransferError, match="'Solaris' is neither the id nor a part of the title"):
        call("Solaris")
    with pytest.raises(TransferError, match="has 1000 readers in training; give a smaller --least"):
        call("--least", "1000")


def test_there_must_be_films() -> None:
    words = [word for word in files() if not word.startswith(("domain.source", "split"))]
    (result,) = run_batch([compose([*words, "domain.source=null", "split=ratio", "method=popularity"])])
    with pytest.raises(TransferError, match="no source domain"):
        find_films(result.predictor, None)

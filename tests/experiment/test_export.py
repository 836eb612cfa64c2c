"""A run folder that serves alone: the same scores without any reader's data, or a line that says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pairs import files

from transfer.api import run
from transfer.errors import TransferError
from transfer.experiment.export import ITEMS, export, load_predictor
from transfer.methods.feature_based import ridge_map
from transfer.results.new_readers import History
from transfer.training.compiler import executables_of

HISTORIES: list[History] = [{"movies": ["m0", "m3"]}, {"movies": ["m2"], "books": ["b1", "b5"]}, {}]


@pytest.mark.parametrize("method", ["ease", "item_knn", "ials", "graph_filter", "popularity", "history_map", "ridge_map"])
def test_an_exported_run_scores_as_it_did_with_its_data(method: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    words = list(files())
    there = Path(words[1].partition("=")[2]).parent
    shutil.copytree(there, data)
    words = [word.replace(str(there), str(data)) for word in words]
    result = run([*words, f"method={method}"], tmp_path / "run")
    expected = result.predictor.score_new(HISTORIES)
    size = export(tmp_path / "run")
    assert size >= (tmp_path / "run" / ITEMS).stat().st_size > 0
    shutil.rmtree(data)
    alone = load_predictor(tmp_path / "run")
    assert alone.loaded.users == [""]
    np.testing.assert_allclose(alone.score_new(HISTORIES), expected, rtol=1e-4, atol=1e-5)
    (lines,) = alone.recommend_new(HISTORIES[:1], 3)
    assert lines[0].title is not None
    assert not any(b"u12" in path.read_bytes() for path in (tmp_path / "run").glob("items.*")), "no reader is in it"


@pytest.mark.parametrize("method", ["residual_map", "ridge_map"])
def test_a_method_that_compares_readers_needs_their_data(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does ridge_map where its map of films to books is too large to be built."""
    monkeypatch.setattr(ridge_map, "MAP_CELLS", 0)
    executables_of.cache_clear()  # these know the program by its settings alone
    run([*files(), f"method={method}"], tmp_path / "run")
    with pytest.raises(TransferError, match=f"method={method} scores new readers by those that it was trained on"):
        export(tmp_path / "run")
    executables_of.cache_clear()
    assert not (tmp_path / "run" / ITEMS).exists()


def test_a_model_of_sequences_serves_alone(tmp_path: Path) -> None:
    words = ["domain.users=80", "domain.source_items=20", "domain.target_items=15", "domain.source_events=8"]
    words += ["domain.target_events=6", "task=ranking", "split=fold_in", "split.valid=0.2", "split.test=0.2"]
    words += ["model=gru4rec", "model.dim=4", "method=target_only", "train.epochs=1", "train.progress=false"]
    result = run(words, tmp_path / "run")
    books = result.predictor.loaded.items
    history: list[History] = [{"books": [books[3], books[1], books[7]]}]
    expected = result.predictor.score_new(history)
    export(tmp_path / "run")
    np.testing.assert_allclose(load_predictor(tmp_path / "run").score_new(history), expected, rtol=1e-4, atol=1e-5)

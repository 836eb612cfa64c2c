"""Domains from arrays and frames, sweeps and results in a notebook: the same worlds as from files, short where printed."""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

import transfer
from transfer.api import compose
from transfer.data.given import from_memory
from transfer.errors import TransferError
from transfer.report.sweep_result import SweepResult

RNG = np.random.default_rng(0)
Y = np.arange(80) % 2
X = (RNG.normal(size=(80, 4)) + 3 * Y[:, None]).astype(np.float32)
WORDS = ["method=source_only", "method.classifier=ridge"]
EVENTS = {"user": [f"u{i % 30}" for i in range(240)], "item": [f"b{(i * 7 + i // 30) % 20}" for i in range(240)]}


def test_arrays_are_the_world_that_a_file_of_them_is(tmp_path: Path) -> None:
    for name, moved in (("films", 0.0), ("books", 1.0)):
        np.savez(tmp_path / f"{name}.npz", x=X + moved, y=Y)
    files = ["domain=examples", "domain.source=films.npz", "domain.target=books.npz", f"data_dir={tmp_path}"]
    from_files = transfer.run([*files, *WORDS])
    in_memory = transfer.run(
        WORDS, source=transfer.domain(X, Y, name="films"), target=transfer.domain(X + 1, Y, name="books")
    )
    assert in_memory.facts["fingerprint"] == from_files.facts["fingerprint"]
    assert in_memory.facts["id"] == from_files.facts["id"]
    assert in_memory.metrics == from_files.metrics
    other = transfer.run(WORDS, source=transfer.domain(X, Y), target=transfer.domain(X + 2, Y))
    assert other.facts["id"] != in_memory.facts["id"]


def test_frames_of_events_are_the_world_that_a_file_of_them_is(tmp_path: Path) -> None:
    table = pl.DataFrame(EVENTS)
    table.write_csv(tmp_path / "books.csv")
    words = ["split=leave_one_out", "method=popularity", "task=ranking"]
    files = ["domain=files", "domain.source=null", f"domain.target={tmp_path}/books.csv"]
    ids = {transfer.run([*files, *words]).facts["id"]}
    frames = (table, table.lazy(), pd.DataFrame(EVENTS), EVENTS)
    ids |= {transfer.run(words, target=transfer.domain(events=frame, name="books")).facts["id"] for frame in frames}
    assert len(ids) == 1
    titles = {"item": [f"b{i}" for i in range(20)], "title": [f"Title {i}" for i in range(20)]}
    target = transfer.domain(events=table, items=titles, name="books", user="user")
    result = transfer.run(words, target=target)
    assert result.predictor.recommend(["u0"], k=1)["u0"][0].title.startswith("Title")  # type: ignore[union-attr, arg-type]


def test_what_pandas_takes_for_missing_has_no_label() -> None:
    frame = pd.DataFrame({"text": ["good fine", "bad dull"] * 20, "label": ["a", "b"] * 19 + [None, np.nan], "n": 1.5})
    result = transfer.run([*WORDS], source=transfer.domain(examples=frame[:38]), target=transfer.domain(examples=frame))
    assert result.facts["world"]["target"]["without_label"] == 2
    assert result.facts["world"]["target"]["columns"] == {"text": "text", "label": "label"}
    labels = pd.Series([0.0, 1.0] * 19 + [np.nan, np.nan])
    arrays = transfer.domain(["good fine", "bad dull"] * 20, labels)
    assert (
        transfer.run(WORDS, source=transfer.domain(X, Y), target=transfer.domain(sparse.csr_matrix(X), Y)).status == "done"
    )
    assert (
        transfer.run(["split=labelled", "method=target_only", "method.classifier=ridge"], target=arrays).facts["world"][
            "target"
        ]["without_label"]
        == 2
    )


def test_a_domain_is_there_as_long_as_one_that_equals_it() -> None:
    one, other = transfer.domain(X, Y), transfer.domain(X.copy(), Y.copy())
    assert one.settings == other.settings
    path = one.settings["path"]
    del other
    gc.collect()
    assert from_memory(path) is not None
    other = transfer.domain(X.copy(), Y.copy())
    del one
    gc.collect()
    assert from_memory(path) is not None
    del other
    gc.collect()
    with pytest.raises(TransferError, match="is gone"):
        from_memory(path)


def test_domains_are_called_by_their_content_and_gone_with_their_object(tmp_path: Path) -> None:
    one, other = transfer.domain(X, Y), transfer.domain(X.copy(), Y.tolist())
    assert one.settings["path"] != transfer.domain(X + 1, Y).settings["path"]
    source, target = transfer.domain(X, Y), transfer.domain(X + 1, Y)
    run = transfer.run(WORDS, tmp_path / "run", source=source, target=target)
    assert transfer.load(tmp_path / "run", source=source, target=target).metrics == run.metrics  # type: ignore[union-attr]
    path = target.settings["path"]
    del one, other, source, target
    gc.collect()
    with pytest.raises(TransferError, match="was given from Python and is gone; give it again"):
        from_memory(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "a domain is one of x=ARRAY"),
        ({"x": X, "events": EVENTS}, "a domain is one of x=ARRAY"),
        ({"events": EVENTS, "y": Y}, "y= goes with x=ARRAY"),
        ({"x": X, "y": Y, "items": EVENTS}, "items= goes with events=FRAME"),
        ({"x": X, "y": Y, "usr": "u"}, "usr: no such key here"),
        ({"events": 3}, "int is no frame"),
    ],
)
def test_what_is_no_domain_is_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(TransferError, match=said):
        transfer.domain(**arguments)  # type: ignore[arg-type]


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TransferError, match="x has 80 examples; give a label for each"):
        transfer.run(WORDS, source=transfer.domain(X, Y[:5]), target=transfer.domain(X, Y))
    with pytest.raises(TransferError, match=r"numbers \[examples, features\] are needed"):
        transfer.run(WORDS, source=transfer.domain(X[:, 0], Y), target=transfer.domain(X, Y))
    with pytest.raises(TransferError, match="of two kinds"):
        transfer.run(WORDS, source=transfer.domain(events=EVENTS), target=transfer.domain(X, Y))


def test_a_sweep_from_python_is_a_frame_with_a_best_run(tmp_path: Path) -> None:
    words = ["method=source_only,coral", "method.classifier=ridge", "hp.l2=0.01,1"]
    source, target = transfer.domain(X, Y, name="films"), transfer.domain(X + 1, Y, name="books")
    found = transfer.sweep(words, tmp_path / "sweep", source=source, target=target)
    assert isinstance(found, SweepResult)
    frame = found.frame()
    assert len(frame) == len(found) == 4
    assert set(frame["hp.l2"]) == {0.01, 1.0}
    assert found.best.facts["id"] in frame["id"].to_list()
    assert found.best.objective == max(frame["valid/accuracy"])
    assert found.summary()["best"].sum() == 2
    assert found.report().name == "index.html"
    assert len(repr(found)) < 200
    assert found._repr_html_().count("<tr>") == 5
    again = transfer.load(tmp_path / "sweep")
    assert again.frame().equals(frame)
    with pytest.raises(TransferError, match="did you mean coral"):
        transfer.sweep(["method=colar,coral"], tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    with pytest.raises(TransferError, match="from Python a sweep is the grid"):
        transfer.sweep(["sweep=tpe", "method=coral"])


def test_a_result_is_short_where_it_is_printed() -> None:
    result = transfer.run(WORDS, source=transfer.domain(X, Y), target=transfer.domain(X + 1, Y, name="books"))
    accuracy = result.metrics["test"]["accuracy"]
    assert f"test {accuracy:.4f}" in repr(result)
    assert len(repr(result)) < 200
    assert f"<td>{accuracy:.4f}</td>" in result._repr_html_()
    table = result.frame()
    assert table.columns == ["metric", "valid", "test"]
    assert dict(table.select("metric", "test").iter_rows()) == result.metrics["test"]


def test_rooms_are_called_too() -> None:
    table = transfer.methods()
    assert table.filter(pl.col("method") == "coral")["does"][0].startswith("Correlation alignment")
    assert "source" in table.filter(pl.col("method") == "coral")["needs"][0].to_list()
    assert import_module("transfer.sweep.plan") is transfer.sweep.plan  # the room is still one
    assert compose(["method=coral", "domain=moons"]).method.name == "coral"

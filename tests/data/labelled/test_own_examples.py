"""Labelled examples of one's own: what is read of tables, arrays and folders, which labels go together, every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import transfer
from transfer.api import compose, run
from transfer.data.examples.world import LoadedExamples
from transfer.errors import TransferError
from transfer.experiment.build import load_world
from transfer.report.comparison.average import compare_all, pair_name
from transfer.report.run_table import world_notes

RNG = np.random.default_rng(0)
LABELS = ["good", "bad"] * 30
X = RNG.normal(size=(60, 3)).astype(np.float32) + 4 * (np.arange(60) % 2)[:, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films and books as people have them: two domains in every format."""
    place = tmp_path_factory.mktemp("own")
    words = {"good": "delightful gripping warm", "bad": "dull tedious flat", "film": "scene actor", "book": "plot prose"}
    for domain, shift in (("film", 0.0), ("book", 1.0)):
        texts = [" ".join(RNG.choice(f"{words[label]} {words[domain]}".split(), 9)) for label in LABELS]
        table = pl.DataFrame({"id": range(60), "review": texts, "label": LABELS, "shop": ["A", "B", "C"] * 20})
        table.write_csv(place / f"{domain}.csv")
        numbers = pl.DataFrame({**{f"x{j}": X[:, j] + shift for j in range(3)}, "label": LABELS})
        numbers.write_csv(place / f"{domain}_numbers.csv")
        numbers.select(pl.concat_list("x0", "x1", "x2").alias("vector"), "label").write_parquet(place / f"{domain}.parquet")
        np.savez(place / f"{domain}.npz", x=X + shift, y=np.arange(60) % 2)
        for first in (0, 1):
            rows = [" ".join(f"{j + first}:{v:.6f}" for j, v in enumerate(x + shift)) for x in X]
            lines = [f"{1 if n % 2 else -1} {row}" for n, row in enumerate(rows)]
            (place / f"{domain}{first}.svmlight").write_text("\n".join(lines))
        for n, label in enumerate(LABELS[:24]):
            (place / f"{domain}_images" / label).mkdir(parents=True, exist_ok=True)
            pixels = np.full((5, 4, 3), 200 * (label == "good") + n, np.uint8)
            Image.fromarray(pixels).save(place / f"{domain}_images" / label / f"{n}.png")
    return place


def load(folder: Path, source: str | None, target: str, *words: str) -> LoadedExamples:
    given = [f"domain.source={source or 'null'}", f"domain.target={target}", f"data_dir={folder}"]
    found = load_world(compose(["domain=examples", *given, *words]))
    assert isinstance(found, LoadedExamples)
    return found


def refusal(folder: Path, source: str | None, target: str, *words: str) -> str:
    with pytest.raises(TransferError) as caught:
        load(folder, source, target, *words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def x_of(loaded: LoadedExamples) -> np.ndarray:
    """The target's x in the order of the file: what is seen unlabelled, and the test."""
    x = np.empty((60, 3), np.float32)
    tested = np.asarray(loaded.world.tested)
    x[tested] = np.asarray(loaded.world.test.inputs.x).reshape(-1, 3)[: len(tested)]
    x[np.setdiff1d(np.arange(60), tested)] = loaded.world.unlabelled
    return x


@pytest.mark.parametrize("kind", ["{}_numbers.csv", "{}.parquet", "{}.npz", "{}0.svmlight", "{}1.svmlight"])
def test_every_format_has_the_same_numbers(folder: Path, kind: str) -> None:
    loaded = load(folder, kind.format("film"), kind.format("book"), "domain.standardise=none")
    np.testing.assert_allclose(x_of(loaded), X + 1, atol=2e-6)
    named = {"npz": ("0", "1"), "svmlight": ("-1", "1")}.get(kind.rpartition(".")[2], ("bad", "good"))
    assert loaded.classes == named
    odd = np.asarray(loaded.world.tested) % 2
    assert np.asarray(loaded.world.test.y)[0].argmax(-1).tolist() == (1 - odd if named == ("bad", "good") else odd).tolist()


def test_numbers_are_standardised_as_the_sources_are_and_texts_are_not(folder: Path) -> None:
    loaded = load(folder, "film.parquet", "book.parquet")
    known = np.concatenate([np.asarray(loaded.world.sources[0].train.x)])
    np.testing.assert_allclose(known.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(known.std(0), 1, atol=1e-5)
    assert x_of(loaded).mean() > 0.2  # moved by 1
    texts = load(folder, "film.csv", "book.csv")
    assert float(np.asarray(texts.world.unlabelled).min()) == 0


def test_the_run_says_which_columns_it_took(folder: Path) -> None:
    loaded = load(folder, "film.csv", "{path: book.csv, label: shop}", "split=few_labels")
    assert world_notes({"world": loaded.summary}) == ["book: text review, label shop", "film: text review, label label"]


def test_methods_fit_own_examples_of_every_kind(folder: Path) -> None:
    for source, target in (("film.csv", "book.csv"), ("film.npz", "book.npz")):
        words = ["domain=examples", f"domain.source={source}", f"domain.target={target}", f"data_dir={folder}"]
        result = run([*words, "method=coral"])
        assert result.metrics["test"]["accuracy"] > 0.9
        raw: dict[str, Any] = {"texts": ["dull tedious"]} if source == "film.csv" else {"vectors": X[1:2] + 1}
        assert result.predictor.classify(**raw) == (["bad"] if source == "film.csv" else ["1"])  # type: ignore[union-attr]


def test_images_lie_in_a_folder_for_each_class(folder: Path) -> None:
    loose = folder / "book_images" / "loose.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(loose)
    loaded = load(folder, "film_images", "book_images", "domain.side=4")
    assert loaded.summary["inputs"] == [4, 4, 3]
    assert loaded.summary["target"]["without_label"] == 1
    assert float(np.asarray(loaded.world.unlabelled).max()) < 1
    loose.unlink()
    table = pl.DataFrame(
        {"file": [f"book_images/{label}/{n}.png" for n, label in enumerate(LABELS[:24])], "label": LABELS[:24]}
    )
    table.write_csv(folder / "covers.csv")
    named = load(folder, "film_images", "{path: covers.csv, image: file}", "domain.side=4")
    assert named.summary["inputs"] == [4, 4, 3]
    assert named.summary["target"]["test"] == 12
    table[:1].with_columns(file=pl.lit("book_images/good/none.png")).write_csv(folder / "covers.csv")
    assert "no such image" in refusal(folder, None, "{path: covers.csv, image: file}", "split=labelled")


def test_rows_without_a_label_are_seen_unlabelled_in_the_target_and_refused_in_a_source(folder: Path) -> None:
    table = pl.read_csv(folder / "book.csv")
    gaps = table.with_columns(label=pl.when(pl.col("id") % 3 > 0).then("label"))
    gaps.write_csv(folder / "gaps.csv")
    for split in ("examples", "labelled", "few_labels", "transductive"):
        loaded = load(folder, "film.csv", "gaps.csv", f"split={split}")
        nameless = {3 * i for i in range(20)}
        assert loaded.summary["target"]["without_label"] == 20
        assert not nameless & set(np.asarray(loaded.world.tested).tolist())
        assert float(np.asarray(loaded.world.test.y).sum()) == len(loaded.world.tested)
        whole = {"examples": 40, "labelled": 36, "few_labels": 36, "transductive": 60}[split]
        assert loaded.world.unlabelled.shape[0] >= whole - 4, split
    said = refusal(folder, "gaps.csv", "film.csv")
    assert said.startswith(f"{folder}/gaps.csv, line 2: no label, and so in 20 rows of the source gaps")


def ids(first: int) -> str:
    return ", ".join(str(i) for i in range(first, 60, 3))


def test_classes_that_are_numbers_stand_in_their_order(folder: Path) -> None:
    np.savez(folder / "ten.npz", x=X, y=np.where(np.arange(60) % 2, 10.0, 2.0))
    assert load(folder, None, "ten.npz", "split=labelled").classes == ("2", "10")


def test_parts_of_one_file_are_domains(folder: Path) -> None:
    part = "{path: book.csv, where: {shop: B}}"
    loaded = load(folder, "[{path: book.csv, each: shop}, film.csv]", part)
    assert [(source["name"], source["train"] + source["stop"]) for source in loaded.summary["sources"]] == [
        ("A", 20),
        ("C", 20),
        ("film", 60),
    ]
    assert loaded.summary["target"]["name"] == "B"
    assert loaded.summary["target"]["unlabelled"] + loaded.summary["target"]["test"] == 20
    few = load(folder, "{path: book.csv, each: shop}", f"{{path: book.csv, where: {{shop: B, id: [{ids(1)}]}}}}")
    assert [source["name"] for source in few.summary["sources"]] == ["A", "C"]  # not what the target leaves of its own shop
    rest = load(folder, "{path: book.csv, each: shop}", f"{{path: book.csv, where: {{id: [{ids(0)}, {ids(1)}]}}}}")
    assert [source["name"] for source in rest.summary["sources"]] == ["C"]
    assert "no row has shop 'D'; it has A, B, C" in refusal(folder, None, "{path: book.csv, where: {shop: D}}")
    assert "the target leaves no row to `each: shop`" in refusal(folder, "{path: book.csv, each: shop}", "book.csv")
    assert "`where` and `each` need a table" in refusal(folder, None, "{path: book.npz, where: {shop: D}}")


@pytest.mark.parametrize(
    "word", ["text: title", "x: [p, q]", "label: verdict", "image: cover", "labels: '|'", "encoding: latin-1"]
)
def test_what_says_how_a_table_is_read_is_refused_of_a_file_that_is_none(folder: Path, word: str) -> None:
    said = refusal(folder, None, f"{{path: book.npz, {word}}}")
    assert f"book.npz: {word.partition(':')[0]} would say how a table is read, and it is none; leave it out" in said


def test_a_grid_over_own_files_is_a_mean_over_their_pairs(folder: Path, tmp_path: Path) -> None:
    files = "film.npz,book.npz"
    words = ["domain=examples", f"domain.source={files}", f"domain.target={files}", f"data_dir={folder}"]
    found = transfer.sweep([*words, "method=source_only", "method.classifier=ridge"], tmp_path / "grid")
    assert [run.status for run in found.runs] == ["done", "done"]  # a domain is not its own source
    mean, *pairs = compare_all(found.runs)
    assert mean.title == "examples, classification, split examples, mean over 2 pairs of domains"
    assert sorted(map(pair_name, mean.members)) == ["book → film", "film → book"]
    assert [pair.title.partition(",")[0] for pair in pairs] == ["book ← film", "film ← book"]


def labelled(folder: Path, name: str, classes: str) -> str:
    labels = [classes[i % len(classes)] for i in range(60)]
    pl.DataFrame({"p": X[:, 0], "q": X[:, 1], "label": labels}).write_csv(folder / name)
    return name


def test_classes_that_the_target_lacks_are_kept_and_said(folder: Path) -> None:
    loaded = load(folder, labelled(folder, "abc.csv", "abc"), labelled(folder, "ab.csv", "ab"))
    assert loaded.classes == ("a", "b", "c")
    assert loaded.world.sources[0].same_labels
    assert "ab: x p, q, label label, no example of c" in world_notes({"world": loaded.summary})


def test_classes_that_no_source_has_need_labels_of_the_target(folder: Path) -> None:
    source, target = labelled(folder, "ab.csv", "ab"), labelled(folder, "abc.csv", "abc")
    assert "the target has classes that no source has (c)" in refusal(folder, source, target)
    assert load(folder, source, target, "split=few_labels").world.sources[0].same_labels
    # as many classes, and none in common: what asks for the same classes must not take them for such
    other = labelled(folder, "xyz.csv", "xyz")
    assert not load(folder, other, target, "split=few_labels").world.sources[0].same_labels
    words = [
        "domain=examples",
        f"domain.source={other}",
        f"domain.target={target}",
        f"data_dir={folder}",
        "split=few_labels",
    ]
    with pytest.raises(TransferError, match="needs the same classes in source and target"):
        run([*words, "method=coral"])


def test_several_labels_of_an_example(folder: Path) -> None:
    rows = {"text": ["ship star", "sword king"] * 20, "genres": ["a|b", "b"] * 20}
    pl.DataFrame(rows).write_csv(folder / "several.csv")
    loaded = load(folder, None, "{path: several.csv, labels: '|'}", "split=labelled")
    assert loaded.classes == ("a", "b")
    assert loaded.world.multi_label
    assert set(np.asarray(loaded.world.test.y).reshape(-1, 2).sum(1)) == {1.0, 2.0}


def test_a_target_without_labels_is_classified_and_not_tested(folder: Path) -> None:
    pl.read_csv(folder / "book.csv").drop("label").write_csv(folder / "unlabelled.csv")
    words = [
        "domain=examples",
        "domain.source=film.csv",
        "domain.target=unlabelled.csv",
        f"data_dir={folder}",
        "test=false",
    ]
    result = run([*words, "method=source_only", "method.classifier=ridge"])
    assert list(result.metrics) == ["valid"]
    assert result.predictor.classify(texts=["dull tedious", "warm"]) == ["bad", "good"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("film.csv", "book.npz", "film.csv: its examples are text, and {}/book.npz has vectors"),
        ("film_images", "book.csv", "its examples are images, and {}/book.csv has text"),
        ("film.npz", "narrow.npz", "narrow.npz has [2] and {}/film.npz has [3]"),
        (
            "narrow.csv",
            "book_numbers.csv",
            "narrow.csv: the target has the numbers x2, which this file lacks; it has x0, x1",
        ),
        ("faulty.csv", "book_numbers.csv", "{}/faulty.csv, line 4: x1 'much' is not a finite number"),
        ("film.npz", "objects.npz", "pickled objects are not read"),
        ("film.npz", "nameless.npz", "it has the arrays a; name the features x"),
        ("ragged.parquet", "book.parquet", "ragged.parquet, row 60: vector has not the 3 numbers of the first row"),
        ("faulty.svmlight", "book0.svmlight", "faulty.svmlight, line 2: 'two:3' where INDEX:VALUE is needed"),
        ("film.csv", "film.csv", "film.csv is named twice"),
        ("film.csv", "none.csv", "no file {}/none.csv"),
        ("film.csv", "{path: book.csv, text: body}", "line 1: no column 'body'; its columns are id, review, label, shop"),
        ("film.csv", "{path: book.csv, text: review, x: id}", "two kinds of features"),
        ("prices.csv", "book_numbers.csv", "label has 60 different labels in 60 examples, which are no classes"),
        ("unlabelled.csv", "book.csv", "the source unlabelled has no labels; name their column with label: COLUMN"),
        ("film.csv", "unlabelled.csv", "unlabelled.csv: the target has no labels, and nothing to test on"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(folder: Path, source: str, target: str, said: str) -> None:
    np.savez(folder / "narrow.npz", x=X[:, :2], y=np.arange(60) % 2)
    np.savez(folder / "nameless.npz", a=X)
    np.savez(folder / "objects.npz", x=X, y=np.array(["a", None] * 30, object))
    numbers = pl.read_csv(folder / "film_numbers.csv")
    numbers.drop("x2").write_csv(folder / "narrow.csv")
    rows = pl.col("x1").cast(pl.String)
    numbers.with_columns(x1=pl.when(pl.int_range(60) == 2).then(pl.lit("much")).otherwise(rows)).write_csv(
        folder / "faulty.csv"
    )
    numbers.with_columns(label=pl.int_range(60) * 1.37).write_csv(folder / "prices.csv")
    pl.read_csv(folder / "film.csv").drop("label").write_csv(folder / "unlabelled.csv")
    vectors = [[1.0, 2.0, 3.0]] * 59 + [[1.0]]
    pl.DataFrame({"vector": vectors, "label": LABELS}).write_parquet(folder / "ragged.parquet")
    (folder / "faulty.svmlight").write_text("1 1:2 2:3\n-1 1:2 two:3\n")
    assert said.format(folder) in refusal(folder, source, target)

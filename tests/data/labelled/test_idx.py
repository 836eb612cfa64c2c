"""idx files: what was written is read, whatever is not whole is refused, and their classes make domains."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transfer.api import compose, run
from transfer.data.examples import idx
from transfer.data.examples.world import LoadedExamples
from transfer.errors import TransferError
from transfer.experiment.build import load_world

SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=3)
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(values: np.ndarray) -> bytes:
    """As the format's page says, byte by byte."""
    head = [0, 0, 8, values.ndim]
    for length in values.shape:
        head += [length >> 24 & 255, length >> 16 & 255, length >> 8 & 255, length & 255]
    return bytes(head) + values.tobytes()


def write(folder: Path, name: str, values: np.ndarray) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(packed(values), 1) if name.endswith(".gz") else packed(values))
    return path


@QUICK
@given(shape=SHAPES, seed=st.integers(0, 9), gz=st.booleans())
def test_what_was_written_is_read(tmp_path: Path, shape: list[int], seed: int, gz: bool) -> None:
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    found = idx.read_idx(write(tmp_path, "a-idx3-ubyte.gz" if gz else "a.idx3-ubyte", values), len(shape))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


@QUICK
@given(shape=SHAPES, data=st.data())
def test_a_file_that_is_not_whole_is_refused_in_one_line(tmp_path: Path, shape: list[int], data: Any) -> None:
    whole = packed(np.ones(shape, np.uint8))
    cut = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path / "a-idx1-ubyte"
    for content, axes in ((whole[:cut], len(shape)), (whole + b"\0", len(shape)), (whole, len(shape) + 1)):
        for damaged in (content, gzip.compress(content)):
            here = path if damaged is content else path.with_suffix(".gz")
            here.write_bytes(damaged)
            with pytest.raises(TransferError, match=f"^{here}: not an idx file of bytes with {axes} ax") as caught:
                idx.read_idx(here, axes)
            assert "\n" not in str(caught.value)


def test_more_than_fits_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3, *[255] * 12]))
    with pytest.raises(TransferError, match="is the limit: not read"):
        idx.read_idx(path, 3)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"),
        ("letters.idx3", "letters.idx1"),
    ],
)
def test_labels_lie_beside_the_images(tmp_path: Path, images: str, labels: str) -> None:
    path = write(tmp_path, images, np.zeros((2, 2, 2), np.uint8))
    assert idx.is_idx(path)
    with pytest.raises(TransferError, match=r"no labels beside it; .*idx1.*\.gz is needed"):
        idx.labels_beside(path)
    assert idx.labels_beside(path) if write(tmp_path, labels, np.zeros(2, np.uint8)) else None
    assert not idx.is_idx(Path("films-idx3.csv"))


COUNT = 240


@pytest.fixture(scope="module")
def strokes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright lines on 8 x 8 pixels: classes 0 and 1 are upper and lower ones, 2 and 3 left and right ones."""
    folder, rng = tmp_path_factory.mktemp("strokes"), np.random.default_rng(0)
    labels, images = np.arange(COUNT, dtype=np.uint8) % 4, rng.integers(0, 80, (COUNT, 8, 8), np.uint8)
    for image, label in zip(images, labels, strict=True):
        place = rng.integers(1, 3) + 4 * (label % 2)
        image[(place, slice(None)) if label < 2 else (slice(None), place)] = 255
    write(folder, "train-images-idx3-ubyte.gz", images)
    write(folder, "train-labels-idx1-ubyte.gz", labels)
    return folder


def words(folder: Path, source: str = "[0, 1]", target: str = "[2, 3]") -> list[str]:
    part = "{{path: train-images-idx3-ubyte.gz, where: {{label: {}}}}}"
    sides = [f"domain.source={part.format(source)}", f"domain.target={part.format(target)}"]
    return ["domain=examples", *sides, f"data_dir={folder}", "split=few_labels", "split.target_labels=8"]


def test_classes_of_one_file_are_domains_with_a_head_each_and_new_images_are_classified(strokes: Path) -> None:
    loaded = load_world(compose([*words(strokes), "method=finetune", "model=cnn"]))
    assert isinstance(loaded, LoadedExamples)
    assert (loaded.classes, loaded.summary["inputs"]) == (("2", "3"), [8, 8, 1])
    assert loaded.summary["target"]["columns"] == {"image": "240 of 8 x 8", "label": "train-labels-idx1-ubyte.gz"}
    assert not loaded.world.sources[0].same_labels
    assert 0.99 < float(np.asarray(loaded.world.unlabelled).max()) <= 1
    quick = ("model=cnn", "train.steps=120", "train.batch_size=16", "hp.learning_rate=0.01", "train.progress=false")
    result = run([*words(strokes), "method=finetune", "method.strategy=full", *quick])
    assert result.metrics["test"]["accuracy"] > 0.9
    new = np.zeros((2, 8, 8, 1), np.float32)
    new[0, :, 1], new[1, :, 6] = 1, 1
    chances = result.predictor.probabilities(images=new)  # type: ignore[union-attr]
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-5)
    assert result.predictor.classify(images=new) == ["2", "3"]  # type: ignore[union-attr]


def test_what_does_not_fit_is_refused(strokes: Path, tmp_path: Path) -> None:
    def refusal(given: list[str]) -> str:
        with pytest.raises(TransferError) as caught:
            load_world(compose([*given, "method=target_only"]))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no row has label '7'; it has 0, 1, 2, 3" in refusal(words(strokes, target="[2, 7]"))
    other = [word.replace("label:", "digit:") for word in words(strokes)]
    assert "no column 'digit' for `where` or `each`; it has label" in refusal(other)
    write(tmp_path, "train-images-idx3-ubyte.gz", np.zeros((3, 8, 8), np.uint8))
    write(tmp_path, "train-labels-idx1-ubyte.gz", np.zeros(4, np.uint8))
    assert "3 images, and" in refusal(words(tmp_path))
    given = [word.replace("train-images-idx3", "train-labels-idx1") for word in words(strokes)]
    assert "not an idx file of bytes with 3 axes" in refusal(given)

"""What is no number, no label or too large is refused with its file and place, before anything is unpacked or learnt."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy import io, sparse

from transfer.api import compose
from transfer.data.examples.featurise import featurise
from transfer.data.examples.images import picture
from transfer.data.examples.load import read_examples
from transfer.data.examples.sets.raw import Raw, check, one_hot
from transfer.errors import TransferError
from transfer.registry import find
from transfer.storage import damaged


def refusal(what: Any, *arguments: Any) -> str:
    with pytest.raises(TransferError) as caught:
        what(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def raw(**parts: Any) -> Raw:
    y = np.eye(2, dtype=np.float32)[[0, 1, 0]]
    return Raw("d", parts.pop("y", y), ("a", "b"), np.zeros(3, bool), path=Path("x.mat"), **parts)


def test_a_feature_that_is_no_number_is_named_by_file_row_and_column() -> None:
    arrays = np.ones((3, 2, 2), np.float32)
    check(raw(arrays=arrays))
    arrays[1, 0, 1] = np.nan
    assert refusal(check, raw(arrays=arrays)) == "x.mat: nan in row 2, column 1, 2 is no feature; correct it"
    counts = sparse.csr_matrix(np.array([[0, 1.0], [0, 0], [2, -3]]))
    assert refusal(check, raw(counts=counts)) == "x.mat: -3.0 in row 3, column 2 is no count of a word; correct it"
    y = np.array([[1, 0], [0, np.inf], [1, 0]])
    assert "the label in row 2, column 2 is inf" in refusal(check, raw(y=y, arrays=np.ones((3, 1))))
    assert "do not go with" in refusal(check, raw(texts=["only one"]))


@pytest.mark.parametrize("label", [np.nan, 2.0, -1.0, 0.5, 1e300])
def test_a_label_that_is_none_is_refused(label: float) -> None:
    assert "labels must be whole numbers from 0 to 1" in refusal(one_hot, np.array([0.0, label]), 2)


def test_nan_in_a_matlab_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "office-caltech").mkdir()
    tables = {"fts": np.ones((20, 800)), "labels": 1 + np.arange(20.0)[:, None] % 10}
    for name in ("amazon", "webcam"):
        io.savemat(tmp_path / "office-caltech" / f"{name}_SURF_L10.mat", tables)
    config: Any = compose(["domain=office_caltech"])
    read_examples(config.domain, tmp_path, find("domains", "office_caltech"))
    tables["fts"][4, 7] = np.nan
    io.savemat(tmp_path / "office-caltech" / "amazon_SURF_L10.mat", tables)
    said = refusal(read_examples, config.domain, tmp_path, find("domains", "office_caltech"))
    assert "amazon_SURF_L10.mat: nan in row 5, column 8" in said


def test_an_image_is_measured_before_it_is_unpacked(tmp_path: Path) -> None:
    """A PNG of a kilobyte that says that it has 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    said = refusal(picture, tmp_path, "bomb.png", 8)
    assert "bomb.png" in said
    assert "pixels" in said
    Image.fromarray(np.full((9, 7, 3), 51, np.uint8)).save(tmp_path / "good.png")
    np.testing.assert_allclose(picture(tmp_path, "good.png", 8), 0.2)
    (tmp_path / "inside").mkdir()
    assert "lies outside" in refusal(picture, tmp_path / "inside", "../good.png", 8)


def test_a_table_is_measured_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"text": ["a" * 1000] * 5000, "n": [1] * 5000}).write_parquet(path)
    assert path.stat().st_size < 5000
    assert damaged.parquet(path, ["n"]).height == 5000
    monkeypatch.setattr(damaged, "ROWS", 4999)
    assert "5,000 rows, and 4,999 is the limit" in refusal(damaged.parquet, path, ["n"])
    monkeypatch.setattr(damaged, "ROWS", 5000)
    monkeypatch.setattr(damaged, "LARGEST", 10**6)
    assert "5,000,000 bytes of text" in refusal(damaged.parquet, path, ["text"])


def test_texts_of_stop_words_alone_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config: Any = compose(["domain=movie_to_book_genres"])
    raws = [raw(texts=["the and", "of", "a"])] * 2
    assert "x.mat give no features" in refusal(featurise, raws, [np.arange(3)] * 2, config.domain)

"""Labelled examples that are no table: arrays of NumPy, svmlight, idx, and a folder of images for each class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data.examples.idx import labels_beside, read_idx
from transfer.data.examples.images import ENDINGS, picture
from transfer.data.kept import noted
from transfer.data.labelled.found import Found, label_of
from transfer.errors import TransferError
from transfer.storage.damaged import check_size, reading

SVMLIGHT = (".svmlight", ".libsvm", ".svm")
LARGEST = 2**31  # bytes of an array that is read


def of_arrays(path: Path, x: Any, y: Any, name: str = "x") -> Found:
    """x: numbers [n, ...], texts or a sparse matrix; y: a class for each, or a row of 0 and 1 for each; None or NaN: not
    known; y=None: of none. Raises TransferError where they do not fit each other."""
    from scipy import sparse

    labels, several = _labels(path, y, x.shape[0] if hasattr(x, "shape") else len(x))
    if sparse.issparse(x):
        return Found(path, labels, counts=x.tocsr().astype(np.float32), several=several, columns={"x": name})
    array = np.asarray(x)
    if array.dtype.kind in "OUT" and all(isinstance(text, str) for text in array.ravel()) and array.ndim == 1:
        return Found(path, labels, texts=[str(text) for text in array], several=several, columns={"text": name})
    if array.dtype.kind not in "biuf" or array.ndim < 2:
        raise TransferError(
            f"{path}: {name} is an array of {array.dtype} and shape {list(array.shape)}; numbers [examples, features] are "
            "needed, or a list of texts"
        )
    return Found(path, labels, arrays=array.astype(np.float32), several=several, columns={"x": name})


def read_npz(path: Path) -> Found:
    """Arrays x and y of a .npz (no y: no example has a label); nothing pickled is read."""
    with reading(path, "an .npz of NumPy with arrays x and y (of numbers or texts: pickled objects are not read)"):
        with noted(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if "x" not in arrays.files:
                raise TransferError(f"it has the arrays {', '.join(arrays.files)}; name the features x and the classes y")
            check_size(sum(part.file_size for part in arrays.zip.infolist()), "bytes", LARGEST)
            x, y = arrays["x"], arrays["y"] if "y" in arrays.files else None
        return of_arrays(path, x, y)


def read_svmlight(paths: list[Path]) -> list[Found]:
    """The files of all domains: columns are counted from 0 where any of them has a column 0, and as many as the last."""
    from scipy import sparse
    from sklearn.datasets import load_svmlight_file

    read, first, width = [], 1, 0
    for path in paths:
        with reading(path, "an svmlight file, each line LABEL INDEX:VALUE INDEX:VALUE …"):
            try:
                x, y = load_svmlight_file(str(noted(path)), zero_based=True, dtype=np.float32)
            except ValueError:
                _refuse_line(path)
                raise
        read.append((path, x, y))
        width = max(width, x.shape[1])
        first = min(first, int(x.indices.min()) if x.nnz else 1)
    check_size(max(x.shape[0] for _, x, _ in read) * width * 4, "bytes", LARGEST)
    found = []
    for path, x, y in read:
        wide = sparse.csr_matrix((x.data, x.indices, x.indptr), shape=(x.shape[0], width))[:, first:]
        labels = [label_of(label) for label in y]
        found.append(Found(path, labels, counts=wide, columns={"x": f"{wide.shape[1]:,} columns, counted from {first}"}))
    return found


def _refuse_line(path: Path) -> None:
    """Raise TransferError, with its line, for the first that is not LABEL INDEX:VALUE …"""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = line.partition("#")[0].split()
            for i, word in enumerate(words):
                index, _, value = word.partition(":")
                try:
                    fine = np.isfinite(float(value if i else word)) and (not i or index == "qid" or int(index) >= 0)
                except ValueError:
                    fine = False
                if not fine:
                    wanted = "INDEX:VALUE" if i else "a number as the label"
                    raise TransferError(
                        f"{path}, line {number}: {word!r} where {wanted} is needed; correct or remove the line"
                    )


def read_grey(path: Path) -> Found:
    """Grey images of an idx file as float32 [n, height, width, 1] in [0, 1], with the labels of the file beside it.

    `where` and `each` know the column label: other digits are another domain.
    """
    images, beside = read_idx(path, 3), labels_beside(path)
    labels = read_idx(beside, 1)
    if len(labels) != len(images):
        raise TransferError(f"{path}: {len(images):,} images, and {beside} has {len(labels):,} labels; one each is needed")
    found = of_arrays(path, images[..., None].astype(np.float32) / 255, labels)
    told = {"image": f"{len(images):,} of {images.shape[1]} x {images.shape[2]}", "label": beside.name}
    return replace(found, columns=told, keys={"label": [str(label) for label in labels.tolist()]})


def read_images(folder: Path, side: int) -> Found:
    """FOLDER/CLASS/*.jpg (.png, …) as pixels; images in FOLDER itself have no label."""
    noted(folder)
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    places = [path.relative_to(folder) for path in images]
    if not images:
        raise TransferError(f"{folder}: no image in it; FOLDER/CLASS/NAME.jpg is needed, or .png, .webp, .gif, .bmp")
    if deep := next((place for place in places if len(place.parts) > 2), None):
        raise TransferError(f"{folder / deep}: a folder in the folder of a class; FOLDER/CLASS/NAME.jpg is needed")
    labels = [label_of(place.parts[0]) if len(place.parts) == 2 else None for place in places]
    pixels = np.stack([picture(folder, str(place), side) for place in places])
    return Found(folder, labels, arrays=pixels, columns={"image": f"{len(images):,} files", "label": "their folders"})


def _labels(path: Path, y: Any, count: int) -> tuple[list[Any], bool]:
    """The classes of every example, and whether it may have several."""
    if y is None:
        return [None] * count, False
    array = np.asarray(y)
    if len(array) != count or array.ndim not in (1, 2):
        raise TransferError(
            f"{path}: y has the shape {list(array.shape)}, and x has {count:,} examples; give a label for each"
        )
    if array.ndim == 1:
        return [label_of(label) for label in array], False
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise TransferError(
            f"{path}: y of shape {list(array.shape)} must have 0 or 1 for each class; or give one class each"
        )
    return [tuple(str(c) for c in np.flatnonzero(row)) or None for row in array], True

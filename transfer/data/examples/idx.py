"""idx files, as MNIST and those after its pattern have them: two zero bytes, 8 (for bytes), the number of axes, their
lengths as big-endian integers of 4 bytes, and the values; packed by gzip or not."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

import numpy as np

from transfer.data.kept import noted
from transfer.errors import TransferError
from transfer.storage.damaged import check_size, reading

LARGEST = 2**29  # bytes of an unpacked file; as float32 four times as many
NAME = re.compile(r"[-.]idx\d(-ubyte)?(\.gz)?$")


def is_idx(path: Path) -> bool:
    """By its name: train-images-idx3-ubyte.gz, t10k-images.idx3-ubyte, ..."""
    return NAME.search(path.name) is not None


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The bytes of a file with so many axes, uint8 [n, ...]. Raises TransferError for any other file, in one line.

    Its size is known before it is unpacked; more than LARGEST is refused, and so is a byte too few or too many.
    """
    with reading(path, f"an idx file of bytes with {axes} ax{'i' if axes == 1 else 'e'}s"):
        with gzip.open(noted(path)) if path.suffix == ".gz" else noted(path).open("rb") as file:
            head = file.read(4 + 4 * axes)
            if head[:4] != bytes([0, 0, 8, axes]) or len(head) < 4 + 4 * axes:
                raise ValueError("its head says otherwise")
            shape = tuple(np.frombuffer(head[4:], ">u4").tolist())
            check_size(math.prod(shape), "bytes", LARGEST)
            values = file.read(math.prod(shape) + 1)
        if len(values) != math.prod(shape):
            raise ValueError(f"{' x '.join(map(str, shape))} values are promised, and {_count(values, shape)} there")
        return np.frombuffer(values, np.uint8).reshape(shape)


def labels_beside(images: Path) -> Path:
    """The file of labels that goes with one of images: labels-idx1 in place of images-idx3 in its name.

    Raises TransferError where there is none.
    """
    name = images.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    places = [images.with_name(name + ending) for ending in (".gz", "")]
    for place in places:
        if noted(place).is_file() and place != images:
            return place
    raise TransferError(f"{images}: no labels beside it; {places[0]} is needed (or without .gz), or an .npz with x alone")


def _count(values: bytes, shape: tuple[int, ...]) -> str:
    return "more are" if len(values) > math.prod(shape) else f"{len(values)} are"

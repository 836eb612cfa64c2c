"""ONNX files, of which the weights of convolutions are read: protocol buffers by hand, and nothing of the graph is run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transfer.errors import TransferError
from transfer.storage.damaged import check_size

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of fields
GRAPH = 7  # of a model
NODE, INITIALISER = 1, 5  # of a graph
INPUT, OUTPUT, OPERATION = 1, 2, 4  # of a node
DIMENSIONS, TYPE, NAME, CONTENT = 1, 2, 8, 9  # of a tensor
FLOAT32 = 1


def read(path: Path) -> dict[str, np.ndarray]:
    """Of every convolution NAME.weight [out, in, h, w] and NAME.bias [out], NAME being that of its output up to a slash.

    Raises TransferError or ValueError for damaged files, and for weights that are not float32 within the file.
    """
    tensors, convolutions = _graph(path)
    found = {}
    for name, inputs in convolutions:
        for leaf, of in zip(("weight", "bias"), inputs[1:], strict=False):
            if of not in tensors:
                raise TransferError(f"the {leaf} of {name} is not in the file")
            found[f"{name}.{leaf}"] = _array(tensors[of], of)
    return found


def _graph(path: Path) -> tuple[dict[str, memoryview], list[tuple[str, list[str]]]]:
    """The stored tensors, undecoded, and of every convolution name and inputs."""
    check_size(path.stat().st_size, "bytes")
    model = memoryview(path.read_bytes())
    graph = [value for number, value in _fields(model) if number == GRAPH]
    if len(graph) != 1 or isinstance(graph[0], int):
        raise TransferError("it is no ONNX model")
    tensors, convolutions = dict[str, memoryview](), list[tuple[str, list[str]]]()
    for number, part in _fields(graph[0]):
        if number == INITIALISER:
            tensors[_text(part, NAME)[0]] = _bytes(part)
        elif number == NODE and _text(part, OPERATION) == ["Conv"]:
            convolutions.append((_text(part, OUTPUT)[0].partition("/")[0], _text(part, INPUT)))
    return tensors, convolutions


def _array(tensor: memoryview, name: str) -> np.ndarray:
    shape, kind, content = list[int](), 0, memoryview(b"")
    for number, value in _fields(tensor):
        if number == DIMENSIONS:
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif number == TYPE and isinstance(value, int):
            kind = value
        elif number == CONTENT:
            content = _bytes(value)
    if kind != FLOAT32 or len(content) != 4 * math.prod(shape):
        raise TransferError(f"{name} is not {shape} numbers of float32 within the file")
    return np.frombuffer(content, "<f4").reshape(shape)


def _text(message: int | memoryview, wanted: int) -> list[str]:
    """The texts of a message in one of its fields; "" where there is none."""
    return [str(_bytes(value), "utf-8") for number, value in _fields(_bytes(message)) if number == wanted] or [""]


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise TransferError("it is no ONNX model")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of every field of a message; a value is a number or the bytes of a text, a message or numbers."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind, size = tag & 7, {FIXED64: 8, FIXED32: 4}.get(tag & 7, 0)
        if kind == VARINT:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            size, place = _varint(message, place)
        elif not size:
            raise TransferError("it is no ONNX model")
        if place + size > len(message):
            raise TransferError("it ends within a message")
        yield tag >> 3, message[place : place + size]
        place += size


def _varints(packed: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packed):
        value, place = _varint(packed, place)
        yield value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of at most ten bytes, seven bits in each, the lowest first; and the place after it."""
    value = 0
    for i in range(10):
        byte = message[place + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, place + i + 1
    raise TransferError("it has a number of more than ten bytes")

"""ONNX files: the weights of convolutions by the names of their outputs, and one line for what is none."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from transfer.errors import TransferError
from transfer.models import resnet50
from transfer.storage import weights

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BIAS = np.array([5.0, -1.0], np.float32)


def number(value: int) -> bytes:
    low = bytes([value & 127 | (128 if value > 127 else 0)])
    return low + number(value >> 7) if value > 127 else low


def field(place: int, value: bytes | str | int) -> bytes:
    """A field of a message, as protocol buffers have it."""
    if isinstance(value, int):
        return number(place << 3) + number(value)
    content = value.encode() if isinstance(value, str) else value
    return number(place << 3 | 2) + number(len(content)) + content


def tensor(name: str, array: np.ndarray, kind: int = 1, packed: bool = False) -> bytes:
    shape = field(1, b"".join(map(number, array.shape))) if packed else b"".join(field(1, n) for n in array.shape)
    return field(5, shape + field(2, kind) + field(8, name) + field(9, array.tobytes()))


def node(operation: str, output: str, *inputs: str) -> bytes:
    return field(
        1, b"".join(field(1, name) for name in inputs) + field(2, output) + field(3, "a name") + field(4, operation)
    )


def model(*parts: bytes) -> bytes:
    return field(1, 8) + field(2, "somebody") + field(7, b"".join(parts))


GOOD = (
    node("Conv", "bn_1/Norm:0", "pixels", "w", "b"),
    node("Relu", "r:0", "bn_1/Norm:0"),
    node("Conv", "last", "r:0", "w"),
    tensor("w", KERNEL),
    tensor("b", BIAS, packed=True),
    tensor("steps", np.arange(3), kind=7),
)


def test_convolutions_have_the_names_of_their_outputs(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_bytes(model(*GOOD))
    found = weights.read(tmp_path / "w.onnx")
    assert set(found) == {"bn_1.weight", "bn_1.bias", "last.weight"}
    np.testing.assert_array_equal(found["bn_1.weight"], KERNEL)
    np.testing.assert_array_equal(found["last.weight"], KERNEL)
    np.testing.assert_array_equal(found["bn_1.bias"], BIAS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no ONNX model"),
        (b"no such file", "w.onnx: "),
        (field(7, 3), "no ONNX model"),
        (model(node("Conv", "a", "x", "w")), "the weight of a is not in the file"),
        (model(node("Conv", "a", "x", "w"), tensor("w", KERNEL, kind=10)), "not [2, 3, 2, 2] numbers of float32"),
        (model(node("Conv", "a", "x", "w"), tensor("w", KERNEL).replace(field(1, 3), field(1, 2**40), 1)), "w.onnx: "),
        (number(7 << 3 | 2) + b"\xff" * 10, "more than ten bytes"),
        (number(7 << 3 | 2) + number(2**60), "ends within a message"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "w.onnx").write_bytes(content)
    with pytest.raises(TransferError) as caught:
        weights.read(tmp_path / "w.onnx")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_early_or_is_damaged_raises_nothing_else(tmp_path: Path) -> None:
    whole, rng = model(*GOOD), np.random.default_rng(0)
    damaged = [whole[:end] for end in range(0, len(whole), 7)]
    for _ in range(200):
        content = bytearray(whole)
        content[rng.integers(len(content))] = rng.integers(256)
        damaged.append(bytes(content))
    for content in damaged:
        (tmp_path / "w.onnx").write_bytes(content)
        with suppress(TransferError):  # anything else would be a fault
            weights.read(tmp_path / "w.onnx")


def test_names_of_the_thin_resnet() -> None:
    names = {
        "stem/kernel": "bn_1.weight",
        "stem/norm/bias": "bn_1.bias",
        "stage1/block0/shortcut/kernel": "bn_stage0_block0_proj_shortcut.weight",
        "stage4/block2/conv3/norm/bias": "bn_stage3_block2_branch2c.bias",
    }
    assert {name: resnet50.opennsfw(name) for name in names} == names

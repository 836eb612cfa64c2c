"""Files of torch.save: what is in them is read, and nothing in them is ever run."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import NUMBERS, Call, Global, Key, old, pickled, tensor

from transfer.errors import TransferError
from transfer.storage import torch_file, weights


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_tensors_are_views_of_their_storages(tmp_path: Path) -> None:
    """As they are stored: in rows, turned, with an offset, empty and of no dimension."""
    state = {
        "rows": tensor(),
        "turned": tensor(shape=(4, 3), strides=(1, 4)),
        "part": tensor(shape=(2,), strides=(5,), offset=2),
        "none": tensor(shape=(0, 3), strides=(3, 1)),
        "one": tensor(shape=(), strides=(), offset=11),
    }
    found = weights.read(written(tmp_path / "w.pth", old(state)))
    assert set(found) == set(state)
    np.testing.assert_array_equal(found["rows"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(found["turned"], NUMBERS.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [2, 7])
    assert found["none"].shape == (0, 3)
    assert found["one"] == 11
    counter = old({"n": tensor(count=1, shape=(), strides=(), of="torch LongStorage")}, numbers=struct.pack("<qq", 1, 5))
    assert weights.read(written(tmp_path / "n.pt", counter))["n"] == 5


def test_the_archive_of_today_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", pickled({"a": tensor(seen=()), "b": tensor(shape=(12,), strides=(1,), seen=())}))
        archive.writestr("w/data/7", NUMBERS.tobytes())
        archive.writestr("w/byteorder", "little")
    found = weights.read(path)
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(found["b"], NUMBERS)


def nested(depth: int) -> Any:
    value: Any = ()
    for _ in range(depth):
        value = (value, value)
    return value


class Runs:
    """The classical attack, as pickle itself writes it."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def whole(value: Any) -> bytes:
    return old({"a": value})


ATTACKS: dict[str, tuple[bytes, str]] = {
    "os.system": (old(b"").replace(pickled(b""), pickle.dumps(Runs(os.system, "touch HERE"), 2)), "names posix.system"),
    "eval": (old(b"").replace(pickled(b""), pickle.dumps(Runs(eval, "open('HERE', 'w')"), 2)), "names __builtin__.eval"),
    "a call by name": (whole(Call("os system", ("touch HERE",))), "names os.system"),
    "an attribute of what is known": (whole(Call("collections OrderedDict.fromkeys", (["a"],))), "names collections."),
    "an attribute of torch": (whole(Call("torch._utils _rebuild_tensor_v2.__globals__", ())), "names torch._utils."),
    "a loader of torch": (whole(Call("torch.storage _load_from_bytes", (b"x",))), "names torch.storage."),
    "getattr": (whole(Call("builtins getattr", (Global("torch FloatStorage"), "__init__"))), "names builtins.getattr"),
    "a newer pickle": (old(b"").replace(pickled(b""), pickle.dumps({"a": 1}, 4)), "opcode FRAME"),
    "a name from the stack": (
        old(b"").replace(pickled(b""), b"\x80\x04\x8c\x02os\x8c\x06system\x93."),
        "opcode SHORT_BINUNICODE",
    ),
    "an instance": (old(b"").replace(pickled(b""), b"(S'touch HERE'\nios\nsystem\n."), "opcode STRING"),
    "an object": (old(b"").replace(pickled(b""), b"\x80\x02(cos\nsystem\no."), "names os.system"),
    "a new object": (old(b"").replace(pickled(b""), b"\x80\x02ccollections\nOrderedDict\n)\x81."), "opcode NEWOBJ"),
    "a call of a text": (old(b"").replace(pickled(b""), b"\x80\x02X\x02\x00\x00\x00os)R."), "str where Name must be"),
    "a text like a name": (
        old(b"").replace(pickled(b""), b"\x80\x02X\x17\x00\x00\x00collections OrderedDict)R."),
        "str where Name must be",
    ),
    "a call of a storage": (whole(Call("torch FloatStorage", (5,))), "no tensor and no dict"),
    "a call of a result": (
        old(b"").replace(pickled(b""), pickled(tensor())[:-1] + b")R."),
        "Tensor where Name must be",
    ),
    "a dict of something": (whole(Call(torch_file.DICT, ([("a", 1)],))), "no tensor and no dict"),
    "a tensor of no storage": (whole(Call(torch_file.TENSOR, ("7", 0, (3,), (1,)))), "str where Storage must be"),
    "a state for a text": (old(b"").replace(pickled(b""), b"\x80\x02X\x01\x00\x00\x00a}b."), "str where dict must be"),
    "an extension": (old(b"").replace(pickled(b""), b"\x80\x02\x82\x01."), "opcode EXT1"),
    "another storage": (whole(tensor(of="torch HalfStorage")), "names torch.HalfStorage"),
    "a storage of a text": (
        whole(Key("storage", "torch FloatStorage", "7", "cpu", 12, None)),
        "float32 and int64 are read",
    ),
    "a view of a storage": (whole(tensor(seen=(("8", 0, 3),))), "float32 and int64 are read"),
    "a module": (old({"a": 1}), "save the state_dict"),
    "a list": (old([tensor()]), "save the state_dict"),
    "keys that are no names": (old({5: tensor()}), "int where str must be"),
    "a negative offset": (whole(tensor(offset=-4)), "no tensor and no dict"),
    "a negative stride": (whole(tensor(strides=(-4, 1))), "no tensor and no dict"),
    "a size that is a truth": (whole(tensor(shape=(True, 4))), "no tensor and no dict"),
    "beyond the storage": (whole(tensor(offset=1)), "beyond its storage"),
    "a stride of nothing": (whole(tensor(shape=(2**40,), strides=(0,))), "beyond its storage"),
    "a huge shape": (whole(tensor(shape=(2**62, 2**62), strides=(0, 0))), "beyond its storage"),
    "a huge stride": (whole(tensor(shape=(2, 2), strides=(2**70, 1))), "beyond its storage"),
    "strides of another length": (whole(tensor(strides=(1,))), "not readable"),
    "a huge storage": (
        old({"a": tensor(count=2**60)}, numbers=struct.pack("<q", 2**60)),
        "the limit",
    ),
    "another count": (old({"a": tensor(count=13)}), "another size"),
    "too few numbers": (
        old({"a": tensor(shape=(4,), strides=(1,))}, numbers=struct.pack("<q", 12) + NUMBERS[:5].tobytes()),
        "ends within storage 7",
    ),
    "a storage of nobody": (old({"a": tensor()}, keys=("7", "8")), "no tensor is a view of"),
    "a storage that is missing": (old({"a": tensor()}, keys=()), "not readable"),
    "keys that never end": (old({"a": tensor()}, keys=(nested(60),)), "no tensor is a view of"),
    "a name that never ends": (
        old(b"").replace(
            pickled(b""), b"\x80\x02}" + pickled(nested(60))[2:-1] + b"K\x01s."
        ),  # to hash it takes 2^60 steps
        "tuple where str must be",
    ),
    "a memo that is empty": (old(b"").replace(pickled(b""), b"\x80\x02h\x05."), "not readable"),
    "a mark that is missing": (old(b"").replace(pickled(b""), b"\x80\x02Nt."), "not readable"),
    "an empty stack": (old(b"").replace(pickled(b""), b"\x80\x02."), "not readable"),
    "a tuple of too few": (old(b"").replace(pickled(b""), b"\x80\x02N\x87."), "save the state_dict"),
    "a big machine": (old({"a": tensor()}, little_endian=False), "big-endian"),
    "a text of four gigabytes": (old(b"").replace(pickled(b""), b"\x80\x02X\xff\xff\xff\xff"), "not readable"),
    "another file": (pickled({"a": 1}), "not written by torch.save"),
    "no file": (b"", "not readable"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_could_do_harm_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is executed: no file appears, and no function that could run code is reached."""
    content, said = ATTACKS[name]
    path = written(tmp_path / "w.pth", content)
    monkeypatch.chdir(tmp_path)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("something was run")

    with monkeypatch.context() as patch:
        for place, function in ((os, "system"), (builtins, "eval"), (pickle, "loads"), (pickle, "load")):
            patch.setattr(place, function, never)
        with pytest.raises(TransferError) as caught:
            weights.read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert os.listdir(tmp_path) == ["w.pth"]


@pytest.mark.parametrize("form", ["old", "zip"])
def test_a_file_that_ends_early_is_refused_wherever_it_ends(form: str, tmp_path: Path) -> None:
    content = old({"a": tensor(), "b": tensor(shape=(2,), strides=(1,))})
    if form == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("w/data.pkl", pickled({"a": tensor(seen=())}))
            archive.writestr("w/data/7", NUMBERS.tobytes())
        content = file.getvalue()
    for end in range(0, len(content), 3):
        path = written(tmp_path / "w.pth", content[:end])
        with pytest.raises(TransferError) as caught:
            weights.read(path)
        assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", pickled({"a": tensor(seen=())}))
        archive.writestr("w/data/7", bytes(100_000))
    monkeypatch.setattr("transfer.storage.damaged.LARGEST", 50_000)
    with pytest.raises(TransferError, match="is the limit"):
        weights.read(path)


def test_a_pickle_of_too_many_parts_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_file, "MOST", 20)
    with pytest.raises(TransferError, match="more than 20 opcodes"):
        weights.read(written(tmp_path / "w.pth", old({"a": tensor()})))

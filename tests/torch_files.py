"""Files as torch.save writes them, made without PyTorch; and such as it never would, to attack what reads them."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np

from transfer.storage import torch_file

NUMBERS = np.arange(12, dtype=np.float32)


class Call:
    """What pickles as a call of a function that need not exist."""

    def __init__(self, place: str, arguments: tuple[Any, ...]):
        self.place, self.arguments = place, arguments


class Key:
    """What pickles as a persistent id."""

    def __init__(self, *parts: Any):
        self.parts = parts


class Global:
    """What pickles as the name of a global."""

    def __init__(self, place: str):
        self.place = place


def pickled(value: Any) -> bytes:
    """The pickle of a value as torch.save writes it, protocol 2, where Calls, Keys and Globals stand for what they name."""

    class Writer(pickle._Pickler):
        def save(self, thing: Any, save_persistent_id: bool = True) -> None:
            if isinstance(thing, Global):
                self.write(b"c" + thing.place.replace(" ", "\n").encode() + b"\n")
            elif isinstance(thing, Call):
                self.save(Global(thing.place))
                self.save(thing.arguments)
                self.write(b"R")
            elif isinstance(thing, Key):
                self.save(thing.parts)
                self.write(b"Q")
            else:
                super().save(thing, save_persistent_id)

    file = io.BytesIO()
    Writer(file, 2).dump(value)
    return file.getvalue()


def tensor(
    key: str = "7", count: int = 12, shape: Any = (3, 4), strides: Any = (4, 1), offset: Any = 0, **more: Any
) -> Call:
    of = more.get("of", "torch FloatStorage")
    storage = Key("storage", Global(of), key, "cpu", count, *more.get("seen", (None,)))
    return Call(torch_file.TENSOR, (storage, offset, shape, strides, False, Call(torch_file.DICT, ())))


def old(
    state: Any, keys: Any = ("7",), numbers: bytes = struct.pack("<q", 12) + NUMBERS.tobytes(), **machine: Any
) -> bytes:
    """A file in the old form."""
    said = {"protocol_version": 1001, "little_endian": True} | machine
    parts = (torch_file.MAGIC, torch_file.PROTOCOL, said, state, list(keys))
    return b"".join(map(pickled, parts)) + numbers

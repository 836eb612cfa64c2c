"""Files of torch.save, read without PyTorch and without unpickling: their opcodes are interpreted here, nothing is called.

A file is a state dict, names and tensors. Its pickles may name four globals, which are mere words to this reader; other
names and opcodes are refused. Both forms are read: the old one, with the numbers behind the pickles, and the zip archive.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from transfer.errors import TransferError
from transfer.storage.damaged import check_size

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what the first two pickles of the old form say
DICT, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
STORAGES: dict[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MOST = 1_000_000  # opcodes of a pickle


class Name(str):
    """A global that a pickle names; it stays a word."""


class Storage(NamedTuple):
    """Numbers that tensors are views of: under which key they are found, their type and how many there are."""

    key: str
    dtype: np.dtype[Any]
    size: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides in numbers, not in bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name. Raises TransferError for what is none, and anything for damaged bytes."""
    check_size(path.stat().st_size, "bytes")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _zipped(archive)
    with path.open("rb") as file:
        return _old(file)


def _old(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Five pickles, two that say what this is, the machine, the state and the keys of the storages, which follow."""
    if interpreted(file) != MAGIC or interpreted(file) != PROTOCOL:
        raise TransferError("it was not written by torch.save")
    if interpreted(file).get("little_endian") is not True:
        raise TransferError("it was written on a big-endian machine")
    state, keys = _state(interpreted(file)), interpreted(file)
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    found = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise TransferError("it has a storage that no tensor is a view of")
        if int.from_bytes(file.read(8), "little") != storages[key].size:
            raise TransferError(f"storage {key} has another size than its tensors say")
        found[key] = _numbers(file, storages[key])
    return {name: _view(tensor, found[tensor.storage.key]) for name, tensor in state.items()}


def _zipped(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """ROOT/data.pkl, the state, and ROOT/data/KEY, the storages."""
    check_size(sum(entry.file_size for entry in archive.infolist()), "bytes")
    root = next((name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")), None)
    if root is None:
        raise TransferError("it was not written by torch.save")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise TransferError("it was written on a big-endian machine")
    state = _state(interpreted(io.BytesIO(archive.read(f"{root}data.pkl"))))
    found = {}
    for key, storage in {tensor.storage.key: tensor.storage for tensor in state.values()}.items():
        with archive.open(f"{root}data/{key}") as file:
            found[key] = _numbers(file, storage)
    return {name: _view(tensor, found[tensor.storage.key]) for name, tensor in state.items()}


def _state(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, dict) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise TransferError("it holds other things than names and tensors; save the state_dict of the model alone")
    return value


def _numbers(file: IO[bytes], storage: Storage) -> np.ndarray:
    size = storage.size * storage.dtype.itemsize
    check_size(size, "bytes")
    content = file.read(size)
    if len(content) < size:
        raise TransferError(f"it ends within storage {storage.key}")
    return np.frombuffer(content, storage.dtype)


def _view(tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
    """The tensor as a view that cannot be written to. Raises TransferError where it is larger than its storage.

    Not only its last element has to lie within: a stride of 0 would make much of little.
    """
    _, offset, shape, strides = tensor
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) > len(numbers) or (0 not in shape and last >= len(numbers)):
        raise TransferError("a tensor reaches beyond its storage")
    steps = tuple(step * numbers.itemsize for step in strides)
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)


def interpreted(file: IO[bytes]) -> Any:
    """The value of the next pickle in a file: of numbers, texts, tuples, lists, dicts, Names, Storages and Tensors.

    Raises TransferError for opcodes that a state dict does not need, and for names and calls beyond the four.
    """
    stack: list[Any] = []
    outside: list[list[Any]] = []  # what lay on the stack before each open mark
    memo: dict[Any, Any] = {}
    for number, (opcode, given, _) in enumerate(pickletools.genops(file)):
        if number > MOST:
            raise TransferError(f"it has a pickle of more than {MOST:,} opcodes")
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                outside.append(stack)
                stack = []
            case "BINPUT" | "LONG_BINPUT":
                memo[given] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[given])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(given)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(CONSTANTS[opcode.name])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                start = len(stack) - TUPLES[opcode.name]
                stack[start:] = [tuple(stack[start:])]
            case "TUPLE":
                inside, stack = stack, outside.pop()
                stack.append(tuple(inside))
            case "APPEND":
                added = stack.pop()
                _checked(stack[-1], list).append(added)
            case "APPENDS":
                inside, stack = stack, outside.pop()
                _checked(stack[-1], list).extend(inside)
            case "SETITEM":
                _set(stack[-3], stack[-2:])
                del stack[-2:]
            case "SETITEMS":
                inside, stack = stack, outside.pop()
                _set(stack[-1], inside)
            case "GLOBAL":
                if given not in (DICT, TENSOR, *STORAGES):
                    raise TransferError(f"its pickle names {str(given).replace(' ', '.')[:100]}, which no state dict needs")
                stack.append(Name(given))
            case "REDUCE":
                arguments = _checked(stack.pop(), tuple)
                stack.append(_made(_checked(stack.pop(), Name), arguments))
            case "BUILD":  # notes on versions, hung on the dict
                stack.pop()
                _checked(stack[-1], dict)
            case "BINPERSID":
                stack.append(_storage(_checked(stack.pop(), tuple)))
            case _:
                raise TransferError(f"its pickle has the opcode {opcode.name}, which no state dict needs")
    raise TransferError("it ends within a pickle")


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TransferError(f"its pickle has {type(value).__name__} where {kind.__name__} must be")
    return value


def _set(into: Any, pairs: list[Any]) -> None:
    _checked(into, dict).update({_checked(key, str): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)})


def _made(name: Name, arguments: tuple[Any, ...]) -> Any:
    """What a call of a global stands for: an empty dict, or a tensor."""
    if name == DICT and not arguments:
        return {}
    if name == TENSOR and len(arguments) >= 4:
        storage, offset, shape, strides = arguments[:4]
        _checked(storage, Storage)
        if all(type(n) is int and n >= 0 for n in (offset, *_checked(shape, tuple), *_checked(strides, tuple))):
            return Tensor(storage, offset, shape, strides)
    raise TransferError("its pickle makes something that is no tensor and no dict")


def _storage(said: tuple[Any, ...]) -> Storage:
    """("storage", type, key, device, count) and, in the old form, a last part that must be None: a view of a storage."""
    if len(said) >= 5 and said[0] == "storage" and isinstance(said[1], Name) and said[1] in STORAGES:
        key, count = said[2], said[4]
        if isinstance(key, str) and type(count) is int and count >= 0 and said[5:] in ((), (None,)):
            return Storage(key, STORAGES[said[1]], count)
    raise TransferError("its pickle has a storage of another kind; float32 and int64 are read")

"""Pytrees as safetensors files, written so that a crash leaves the old file or the new one."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from transfer.errors import TransferError
from transfer.storage.damaged import reading

DAMAGED = "its checksum is another"

TEMPORARY = ".transfer-tmp"  # the end of the names of files that are being written: .NAME.PID.transfer-tmp


def write(path: Path, data: bytes, flush: bool = True) -> None:
    """Write a whole file atomically: a temporary file beside it, flushed to the disk, then renamed.

    Without `flush` the caller sees to it later, for many files at once: a file alone costs some milliseconds.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:  # of a full disk: the system does not say which file it was
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sweep_up(folder: Path) -> None:
    """Remove what writes of processes that died have left in a folder where nobody else writes now."""
    for left in folder.glob(f".*{TEMPORARY}"):
        pid = left.name.removesuffix(TEMPORARY).rpartition(".")[2]
        if pid.isdecimal() and (int(pid) == os.getpid() or not _alive(int(pid))):
            left.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def save_tree(path: Path, tree: Any, facts: dict[str, Any], flush: bool = True) -> None:
    """Save the leaves of a pytree under their paths, with JSON facts beside them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    arrays = {name_of(keys): np.asarray(leaf, order="C") for keys, leaf in leaves}
    checked = {"facts": facts, "crc32": [zlib.crc32(json.dumps(facts).encode()), _checksum(arrays)]}
    # one entry: safetensors writes several in an order that changes from file to file
    write(path, save(arrays, metadata={"checked": json.dumps(checked)}), flush)


def load_facts(path: Path) -> dict[str, Any]:
    """The JSON facts of a file. Raises TransferError where it is not one of ours, or damaged."""
    with reading(path, "a file of this framework that can be read; remove it to start afresh"):
        with safe_open(path, framework="numpy") as file:
            facts, sums = _checked(file.metadata())
        if sums and zlib.crc32(json.dumps(facts).encode()) != sums[0]:
            raise ValueError(DAMAGED)
        return facts


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name. Raises TransferError where it cannot be read, or is damaged."""
    with reading(path, "a file of arrays that can be read"):
        with safe_open(path, framework="numpy") as file:
            _, sums = _checked(file.metadata())
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        if sums and _checksum(arrays) != sums[1]:
            raise ValueError(DAMAGED)
        return arrays


def _checksum(arrays: dict[str, np.ndarray]) -> int:
    """CRC-32 of names, types, shapes and values, in the order of names."""
    total = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8), total)
    return total


def _checked(metadata: dict[str, str]) -> tuple[dict[str, Any], list[int]]:
    """Facts and checksums (of facts, of arrays) of a file's metadata; files of before have facts alone."""
    if "checked" not in metadata:
        return json.loads(metadata["facts"]), []
    checked = json.loads(metadata["checked"])
    return dict(checked["facts"]), [int(number) for number in checked["crc32"]]


def load_tree(path: Path, template: Any) -> Any:
    """The pytree of a file in the form of `template` (arrays or shapes). Raises TransferError naming what does not fit."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    stored = load_arrays(path)
    wanted = {name_of(keys): tuple(leaf.shape) for keys, leaf in leaves}
    for name, shape in wanted.items():
        if name not in stored:
            raise TransferError(f"{path}: no array {name}; it was written by another method or version")
        if stored[name].shape != shape:
            raise TransferError(f"{path}: {name} has shape {stored[name].shape}, expected {shape}; the data has changed")
    return jax.tree_util.tree_unflatten(structure, [stored[name_of(keys)] for keys, _ in leaves])


def name_of(keys: tuple[Any, ...]) -> str:
    """The name of a leaf from its path in a pytree: body/first/kernel."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")

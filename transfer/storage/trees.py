"""Pytrees as safetensors files, written so that a crash leaves the old file or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from transfer.errors import TransferError

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
    write(path, save(arrays, metadata={"facts": json.dumps(facts)}), flush)


def load_facts(path: Path) -> dict[str, Any]:
    """The JSON facts of a file. Raises TransferError where it is not one of ours."""
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["facts"])
    except (SafetensorError, OSError, KeyError) as error:
        raise TransferError(f"{path}: not a readable checkpoint ({error}); remove it to start afresh") from None


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name. Raises TransferError where it cannot be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError) as error:
        raise TransferError(f"{path}: not readable ({error})") from None


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

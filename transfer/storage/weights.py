"""Weights that others trained, from a local file in PyTorch's layout: read, renamed by rule, checked tensor by tensor."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import safe_open

from transfer.errors import TransferError
from transfer.storage import onnx_file, torch_file
from transfer.storage.damaged import check_size, reading

Naming = Callable[[str], str]  # our name of a parameter, such as stem/conv/kernel -> the name in the file


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors, .npz, .onnx or PyTorch file, or a folder with model.safetensors (one file or shards).

    Raises TransferError for what is not there, or cannot be read. Nothing in a file is ever run.
    """
    if path.is_dir():
        return {name: tensor for file in _files(path) for name, tensor in read(file).items()}
    if not path.is_file():
        raise TransferError(f"{path}: no such file or folder of weights")
    with reading(path, "readable"):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                check_size(sum(entry.file_size for entry in archive.infolist()), "bytes")
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        if path.suffix in (".pth", ".pt", ".bin"):
            return torch_file.read(path)
        if path.suffix == ".onnx":
            return onnx_file.read(path)
    raise TransferError(f"{path}: weights are read from .safetensors, .npz, .onnx and PyTorch's .pth, .pt and .bin files")


def fingerprint(path: Path) -> str:
    """A hash of the content of the weight files."""
    digest = hashlib.sha256()
    for file in _files(path) if path.is_dir() else [path]:
        with reading(file, "readable"), file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def load(path: Path, template: Any, namings: Mapping[str, Naming], prefixes: Iterable[str], unused: Iterable[str]) -> Any:
    """The tensors of a file as float32 arrays in the form of `template` (nested dicts of arrays or shapes).

    namings: the names that such a file may use; the one that most of its names fit is taken. A kernel is turned from
    PyTorch's layout: [out, in] -> [in, out], [out, in, height, width] -> [height, width, in, out]. prefixes: what names may
    begin with, such as `bert.`; unused: how the names begin (or end) of what the model has no place for.
    Raises TransferError naming the first tensor that is missing, left over or of another shape, with the closest match.
    """
    unused, prefixes = tuple(unused), tuple(prefixes)
    tensors = read(path)
    stored = {_without(name, prefixes): name for name in tensors}
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    shapes = {jax.tree_util.keystr(keys, simple=True, separator="/"): tuple(leaf.shape) for keys, leaf in leaves}
    wanted = max(
        ({rule(name): name for name in shapes} for rule in namings.values()), key=lambda names: len(names.keys() & stored)
    )
    missing = [name for name in wanted if name not in stored]
    extra = [name for name in stored if name not in wanted and not name.startswith(unused) and not name.endswith(unused)]
    if missing:
        raise TransferError(
            f"{path}: no tensor {missing[0]}{_count(missing)}, which {wanted[missing[0]]} needs; "
            f"{closest(missing[0], extra)}"
        )
    if extra:
        raise TransferError(
            f"{path}: the model has no place for the tensor {stored[extra[0]]}{_count(extra)}; {closest(extra[0], wanted)}"
        )
    arrays = {}
    for theirs, ours in wanted.items():
        array = _turned(ours, tensors[stored[theirs]])
        if array.shape != shapes[ours]:
            alike = [name for name in stored if _turned(ours, tensors[stored[name]]).shape == shapes[ours]]
            raise TransferError(
                f"{path}: {stored[theirs]} has shape {list(array.shape)} in our layout and {ours} needs "
                f"{list(shapes[ours])}; {closest(theirs, alike)}"
            )
        if not np.isfinite(array).all():
            place = [int(i) for i in np.argwhere(~np.isfinite(tensors[stored[theirs]].astype(np.float32)))[0]]
            raise TransferError(f"{path}: {stored[theirs]} has a value at {place} that is not a number; take another file")
        arrays[ours] = array
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in shapes])


def _turned(ours: str, array: np.ndarray) -> np.ndarray:
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(array.ndim) if ours.endswith("kernel") else None
    return np.ascontiguousarray(array if axes is None else array.transpose(axes), np.float32)


def _without(name: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    return name


def closest(name: str, others: Iterable[str]) -> str:
    """The words that name the closest of some names, for an error's end."""
    found = get_close_matches(name, list(others), 1, cutoff=0)
    return f"the closest match is {found[0]}" if found else "nothing is like it"


def _count(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: one, or the shards that its index lists."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    with reading(index, "an index of safetensors files"):
        return sorted({folder / Path(name).name for name in json.loads(index.read_text())["weight_map"].values()})

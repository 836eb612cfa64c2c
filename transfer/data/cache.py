"""Where costly features and cleaned domains are kept: files in the user's cache folder, named by all that decides them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.console import console
from transfer.errors import TransferError
from transfer.storage.bounded import prune
from transfer.storage.trees import load_arrays, load_facts, save_tree

Arrays = dict[str, np.ndarray]
LARGEST = 2 * 2**30  # bytes of each folder; what was not used for longest goes first


def places(how: bytes, examples: Sequence[Sequence[str] | np.ndarray]) -> list[Path]:
    """Where features of texts or images, made in this way, are kept: a file for each domain, which may not exist yet."""
    digest = hashlib.sha256(how)
    for of_domain in examples:
        digest.update(len(of_domain).to_bytes(8, "big"))
        for example in of_domain:
            content = example.encode() if isinstance(example, str) else np.ascontiguousarray(example).tobytes()
            digest.update(hashlib.sha256(content).digest())
    return [folder("features") / f"{digest.hexdigest()[:24]}-{i}.safetensors" for i in range(len(examples))]


def folder(name: str) -> Path:
    """Where things of this kind are kept for the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transfer" / name


def kept(path: Path, *names: str) -> tuple[Arrays, Any] | None:
    """Arrays and facts of a file that `keep` wrote, by its checksum; None where there is none, a damaged one, or one that
    has other arrays than these (no names: any)."""
    try:
        os.utime(path)
        arrays, facts = load_arrays(path), load_facts(path)
    except (OSError, TransferError):
        return None
    return (arrays, facts) if set(names) in (set(), set(arrays)) else None


def keep(path: Path, arrays: Arrays, facts: dict[str, Any] | None = None) -> None:
    """Keep arrays under a path, with JSON facts. A cache that cannot be written costs time later and stops nothing."""
    if (size := sum(array.nbytes for array in arrays.values())) > LARGEST / 4:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        prune(path.parent, LARGEST - size)
        save_tree(path, arrays, facts or {}, flush=False)  # a torn one is told by its checksum
    except OSError as error:
        console.print(f"{path.parent.name} are not kept: {error}", markup=False, soft_wrap=True)


def remembered(path: Path, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The one array that is kept under a path, else what `make` returns, which is kept."""
    if known := kept(path, name):
        return known[0][name]
    made = make()
    keep(path, {name: made})
    return made

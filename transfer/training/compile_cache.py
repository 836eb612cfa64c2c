"""Compiled programs, kept for the next run: they are code, so the folder must be the user's own and the entries whole."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import jax

from transfer.console import console
from transfer.storage.bounded import prune
from transfer.storage.trees import write

LARGEST = 2 * 2**30  # bytes of the folder; what was not used for longest goes first
DIGEST = hashlib.sha256().digest_size


class Entries:
    """Entries of a folder under JAX's keys, each behind its SHA-256: a damaged one counts as missing and is made again.

    What cannot be read or written costs time and stops nothing.
    """

    def __init__(self, folder: Path, largest: int = LARGEST):
        self._path, self._largest, self._written, self._said = folder, largest, 0, False
        prune(folder, largest)

    def get(self, key: str) -> bytes | None:
        path = self._path / f"{key}.xla"
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        value = content[DIGEST:]
        return value if hashlib.sha256(value).digest() == content[:DIGEST] else None

    def put(self, key: str, value: bytes) -> None:
        try:
            write(self._path / f"{key}.xla", hashlib.sha256(value).digest() + value, flush=False)
        except OSError as error:
            if not self._said:
                console.print(
                    f"compiled programs are not kept, so that runs start more slowly: {error}", markup=False, soft_wrap=True
                )
            self._said = True
        self._written += len(value)
        if self._written > self._largest / 8:
            self._written = 0
            prune(self._path, self._largest)


def distrusted(folder: Path) -> str | None:
    """Why programs in a folder must not be run; None for the user's own one that nobody else can write to."""
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        return "it is a link, or no folder"
    if facts.st_uid != os.geteuid():
        return "it belongs to another user"
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others can write to it; remove it, or write chmod 700"
    return None


def use_compile_cache() -> None:
    """Keep compiled programs in the user's own cache folder (mode 700); where that is not to be trusted, keep none."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transfer" / "xla"
    chosen = getattr(jax.config, "jax_compilation_cache_dir", None)
    if chosen == str(folder) or not getattr(jax.config, "jax_enable_compilation_cache", True):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if why := distrusted(folder):
            raise OSError(f"{folder}: {why}")
        folder.chmod(0o700)
        from jax._src import compilation_cache

        # JAX has no public way to give it another store, and its own never replaces a damaged entry
        if not hasattr(compilation_cache, "get_file_cache"):
            raise ImportError("this JAX takes no other store")
        compilation_cache.get_file_cache = lambda path: (Entries(Path(path)), path)  # type: ignore[assignment,return-value]
    except (OSError, ImportError) as error:
        console.print(
            f"compiled programs are not kept, so that runs start more slowly: {error}", markup=False, soft_wrap=True
        )
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

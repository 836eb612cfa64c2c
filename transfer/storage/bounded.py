"""Folders that hold no more than so many bytes: what was not used for longest goes first."""

from __future__ import annotations

import os
from pathlib import Path


def prune(folder: Path, largest: int) -> None:
    """Remove the files that were not used for longest, until those left have at most `largest` bytes."""
    entries = []
    try:
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False):
                facts = entry.stat(follow_symlinks=False)
                entries.append((facts.st_mtime, facts.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= largest:
                break
            os.unlink(path)
            total -= size
    except OSError:  # another process has removed it
        pass

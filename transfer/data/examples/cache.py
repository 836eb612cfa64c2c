"""Where costly features of texts are kept: files in the user's cache folder, named by all that decides their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def places(how: bytes, texts: list[list[str]]) -> list[Path]:
    """Where features of these texts, made in this way, are kept: an .npz file for each domain, which may not exist yet."""
    digest = hashlib.sha256(how)
    for of_domain in texts:
        digest.update(len(of_domain).to_bytes(8, "big"))
        for text in of_domain:
            digest.update(hashlib.sha256(text.encode()).digest())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transfer" / "features"
    return [cache / f"{digest.hexdigest()[:24]}-{i}.npz" for i in range(len(texts))]


def keep(path: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write a temporary file and put it in place, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

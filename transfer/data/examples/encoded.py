"""Texts as vectors of a frozen encoder; kept by content, for it is the same work for every split, seed and method."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples import cache
from transfer.data.examples.tokens import tokenised
from transfer.errors import TransferError
from transfer.storage.packaged import located

Encode = Callable[[str, np.ndarray], np.ndarray]  # the encoder's folder, token ids int32 [n, length] -> float32 [n, d]


def encoded(texts: list[list[str]], domains: ExampleDomains, encode: Encode | None) -> list[np.ndarray]:
    """Vectors float32 [n, d] of every domain's texts, cut to domain.length tokens.

    Raises TransferError where the encoder's folder has no weights or no tokenizer.
    """
    if encode is None:
        raise TransferError("domain.features=encoded needs a network, which transfer.registry.load_world brings")
    folder = domains.encoder or ""
    tokens = tokenised(texts, domains.model_copy(update={"tokenizer": folder}))
    how = f"encoded-2 {domains.length} {_fingerprint(located(folder))}".encode()
    pairs = zip(cache.places(how, texts), tokens, strict=True)
    return [cache.remembered(path, "z", partial(encode, folder, ids)) for path, ids in pairs]


def _fingerprint(folder: Path) -> str:
    """A hash of everything that decides what an encoder says."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *(folder / name for name in ("config.json", "tokenizer.json"))]):
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()

"""Texts or images as vectors of a frozen encoder; kept by content, the same for every split, seed and method."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np

from transfer.config.domains import LabelledDomains
from transfer.data import cache
from transfer.data.examples.sets.raw import Raw
from transfer.data.examples.tokens import tokenised
from transfer.errors import TransferError
from transfer.storage import weights
from transfer.storage.packaged import located, read_by, tokenizer_of

# what domain.encoder names, token ids int32 [n, length] or images float32 [n, height, width, channels] -> float32 [n, d]
Encode = Callable[[str, np.ndarray], np.ndarray]


def encoded(raws: list[Raw], domains: LabelledDomains, encode: Encode | None) -> list[np.ndarray]:
    """Vectors float32 [n, d] of every domain's images or texts, the latter cut to domain.length tokens.

    Raises TransferError where the encoder has no weights or no tokenizer, or reads what a domain does not have.
    """
    if encode is None:
        raise TransferError("encoded examples need a network, which transfer.experiment.build.load_world brings")
    given = domains.encoder or ""
    if read_by(given) != "images":
        return encoded_texts([raw.texts or [] for raw in raws], given, domains.length, encode)
    images = [raw.arrays for raw in raws if raw.arrays is not None]
    if len(images) < len(raws):
        raise TransferError(
            f"domain.encoder={given} reads images, and {domains.name} has none; write minilm, wordllama or FOLDER"
        )
    pairs = zip(cache.places(f"images-1 {weights.fingerprint(located(given))}".encode(), images), images, strict=True)
    return [cache.remembered(path, "z", partial(encode, given, inputs)) for path, inputs in pairs]


def encoded_texts(texts: list[list[str]], given: str, length: int, encode: Encode | None) -> list[np.ndarray]:
    """Vectors float32 [n, d] of every domain's texts, cut to `length` tokens, by an encoder in a folder or a package.

    Raises TransferError where the encoder has no weights or no tokenizer.
    """
    if encode is None:
        raise TransferError("encoded texts need a network, which transfer.experiment.build.load_world brings")
    tokens = tokenised(texts, given, length)
    pairs = zip(cache.places(f"encoded-2 {length} {_fingerprint(given)}".encode(), texts), tokens, strict=True)
    return [cache.remembered(path, "z", partial(encode, given, inputs)) for path, inputs in pairs]


def _fingerprint(given: str) -> str:
    """A hash of everything that decides what an encoder of texts says."""
    digest, place = hashlib.sha256(), located(given)
    files = [place] if place.is_file() else [*place.glob("*.safetensors"), place / "config.json"]
    for path in sorted([*files, tokenizer_of(given)]):
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()

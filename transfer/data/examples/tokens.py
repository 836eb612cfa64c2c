"""Texts as ids of tokens, by the tokenizer.json of a Hugging Face folder; kept by content."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data import cache
from transfer.errors import TransferError, missing
from transfer.storage.packaged import read_by, tokenizer_of


def tokenised(texts: list[list[str]], given: str, length: int) -> list[np.ndarray]:
    """Ids int32 [n, length] of every domain's texts, by the tokenizer of a folder or a package; 0 is padding.

    They have the tokenizer's own first and last token, but for tables of words.

    Raises TransferError where the package `tokenizers` or the folder's tokenizer.json is missing or pads with another id.
    """
    path, of_words = tokenizer_of(given), read_by(given) == "words"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TransferError(f"{path}: not readable ({error}); domain.tokenizer=FOLDER needs tokenizer.json") from None
    how = f"tokens-2 {length} {hashlib.sha256(content).hexdigest()}{' words' if of_words else ''}".encode()

    def ids(of_domain: list[str]) -> np.ndarray:
        return _ids(_tokenizer(path, content, length, of_words), of_domain, length, not of_words)

    pairs = zip(cache.places(how, texts), texts, strict=True)
    return [cache.remembered(file, "ids", partial(ids, of_domain)) for file, of_domain in pairs]


def _tokenizer(path: Path, content: bytes, length: int, of_words: bool = False) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise missing("domain.features=tokens", "tokenizers", "text") from None
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except Exception as error:  # the package raises nothing narrower
        raise TransferError(f"{path}: not a tokenizer ({error})") from None
    # tables of words have none; their token 0 is <unk>, which a tokenizer that falls back on bytes never gives
    if not of_words and (padding := tokenizer.token_to_id("[PAD]")) != 0:
        raise TransferError(f"{path}: its token [PAD] has id {padding}; 0 is needed, as in tokenizers of the BERT family")
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    return tokenizer


def _ids(tokenizer: Any, texts: list[str], length: int, special: bool) -> np.ndarray:
    ids = np.zeros((len(texts), length), np.int32)
    for row, encoded in zip(ids, tokenizer.encode_batch_fast(texts, add_special_tokens=special), strict=True):
        row[: len(encoded.ids)] = encoded.ids
    return ids

"""Static vectors of words: a text is the mean of its tokens' vectors, without padding and special tokens."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from pretrained import WORDS, tokenizer
from safetensors.numpy import save_file

from transfer.api import compose
from transfer.config.domains import ExampleDomains
from transfer.data.examples.encoded import encoded
from transfer.data.examples.sets.raw import Raw
from transfer.models import encoders
from transfer.storage import packaged


def domain(encoder: str) -> ExampleDomains:
    chosen = compose(
        ["domain=news_to_books", "domain.features=encoded", f"domain.encoder={encoder}", "domain.length=6"]
    ).domain
    assert isinstance(chosen, ExampleDomains)
    return chosen


def vectors(texts: list[str], encoder: str) -> np.ndarray:
    raw = Raw("news", np.ones((len(texts), 1)), ("a",), np.zeros(len(texts), bool), texts=texts)
    return encoded([raw], domain(encoder), encoders.encoded)[0]


def test_a_text_is_the_mean_of_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a package that is a table and a tokenizer; the latter's first and last token and its padding do not count."""
    table = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float16)
    save_file({"embedding.weight": table}, tmp_path / "table.safetensors")
    (tmp_path / "words.json").write_text(json.dumps(tokenizer()))
    monkeypatch.setattr(packaged, "_root", lambda given: tmp_path)
    tiny = packaged.Package("tiny", "table.safetensors", "", "", reads="words", tokenizer="words.json")
    monkeypatch.setitem(packaged.PACKAGES, "tiny", tiny)
    said = [["a", "good", "book"], ["dull", "plot"], []]
    found = vectors([" ".join(words) for words in said], "tiny")
    for z, words in zip(found, said, strict=True):
        wanted = np.mean([table[WORDS.index(word)].astype(np.float64) for word in words], axis=0) if words else np.zeros(5)
        np.testing.assert_allclose(z, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("wordllama") is None, reason="needs transfer[words]")
def test_the_package_knows_what_is_alike() -> None:
    texts = ["The cat sat on the mat.", "A kitten is on a rug.", "The market for bonds fell on Tuesday."]
    z = vectors(texts, "wordllama")
    assert z.shape == (3, 256)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    assert z[0] @ z[1] > z[0] @ z[2] + 0.1

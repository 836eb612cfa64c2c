"""Damaged copies of a file's bytes, by a seed: flipped, cut, doubled, spliced, swapped, or with numbers that are none."""

from __future__ import annotations

import numpy as np

WORDS = (b"nan", b"-1", b"inf", b"1e400", b"\0", b'"', b"\n", b",", b"null", b"[]", b"999999999999", b"\xff\xfe", b"{}")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes, each of a kind and at a place that are drawn; never the same bytes."""
    new = data
    while new == data:
        for _ in range(rng.integers(1, 4)):
            new = _changed(new, rng)
    return new


def _changed(data: bytes, rng: np.random.Generator) -> bytes:
    if not data:
        return rng.bytes(8)
    # heads and ends hold most of the structure of binary files
    near = (lambda: int(rng.integers(len(data))), lambda: int(rng.integers(min(len(data), 64))))
    near += (lambda: len(data) - 1 - int(rng.integers(min(len(data), 64))),)  # type: ignore[assignment]
    a, b = sorted((near[rng.integers(3)](), near[rng.integers(3)]()))
    size = int(rng.integers(1, min(len(data), 4096) + 1))
    match rng.integers(7):
        case 0:
            changed = bytearray(data)
            for _ in range(rng.integers(1, 9)):
                changed[near[rng.integers(3)]()] ^= 1 << int(rng.integers(8))
            return bytes(changed)
        case 1:
            return data[:b]
        case 2:
            return data[: a + size] + data[a:]
        case 3:
            return data[:a] + rng.bytes(min(size, 64)) + data[a:]
        case 4:
            return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]
        case 5:
            return data[:a] + data[a + size :]
        case _:
            word = WORDS[rng.integers(len(WORDS))]
            return data[:a] + word + data[a + len(word) * int(rng.integers(2)) :]

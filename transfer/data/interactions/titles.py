"""Titles as people tell works apart by them."""

from __future__ import annotations

import re
import unicodedata

BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
ARTICLE = re.compile(r"^(the|a|an) ")


def key_of(title: str | None) -> str | None:
    """A title without case, accents, brackets as in (Millennium, #1), signs and first article; None where none is left.

    "The Girl with the Dragon Tattoo (Millennium, #1)" and "Girl With The Dragon Tattoo" have one key. Subtitles stay: they
    tell "Batman: Year One" from other books of that hero.
    """
    plain = unicodedata.normalize("NFKD", BRACKETS.sub(" ", title or "").replace("&", " and ")).lower()
    letters = "".join(sign for sign in plain if sign not in "'’" and not unicodedata.combining(sign))
    return ARTICLE.sub("", " ".join(re.findall(r"\w+", letters))) or None

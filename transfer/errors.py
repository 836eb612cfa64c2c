"""The one exception that users are meant to see: a single line that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TransferError(Exception):
    """Bad configuration or bad data; the message is one line with the place and the remedy."""


def one_line(error: Exception) -> str:
    """A message without its line breaks and without Hydra's list of search paths."""
    return " ".join(str(error).partition("Config search path:")[0].split())


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where one of the known names is close; else nothing."""
    found = get_close_matches(name, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""

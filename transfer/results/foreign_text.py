"""Titles and ids that others wrote, made harmless where they are shown or exported. Nothing here changes what is kept."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with U+FFFD for what a terminal would obey or not show: escapes, control characters, line breaks."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def csv_cell(text: str) -> str:
    """The text as a spreadsheet reads it: behind an apostrophe where it would be taken for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text

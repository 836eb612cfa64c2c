"""The one exception that users are meant to see: a single line that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TransferError(Exception):
    """Bad configuration or bad data; the message is one line with the place and the remedy."""


class MachineError(TransferError):
    """What failed is the machine (memory, disk, a killed process) and not the run: the same command takes it up again."""


LONGEST = 2000  # characters of a message that is shown or kept: those of others may quote a whole file


def one_line(error: BaseException | str) -> str:
    """A message without line breaks and control characters, without Hydra's list of search paths, of bounded length."""
    text = str(error) or type(error).__name__
    line = " ".join(text[: 4 * LONGEST].partition("Config search path:")[0].split())
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 2]} …"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where one of the known names is close; else nothing."""
    found = get_close_matches(name, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""

"""The one exception that users are meant to see: a single line that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from errno import EDQUOT, ENOSPC

# What pip calls this package: `transfer` on the package index is another project.
DISTRIBUTION = "transfer-across-domains"


class TransferError(Exception):
    """Bad configuration or bad data; the message is one line with the place and the remedy."""


class MachineError(TransferError):
    """What failed is the machine (memory, disk, a killed process) and not the run: the same command takes it up again."""


def missing(what: str, package: str, extra: str) -> TransferError:
    """What to say where a package of an extra is not installed."""
    return TransferError(f"{what} needs the package {package}; in the checkout write pip install -e '.[{extra}]'")


LONGEST = 2000  # characters of a message that is shown or kept: those of others may quote a whole file


def one_line(error: BaseException | str) -> str:
    """A message without line breaks and control characters, of bounded length. Hydra's about a key or a choice that does
    not exist names the nearest one instead: what it advises, to append +KEY, would be taken and do nothing."""
    text = _of_hydra(error) or _of_disk(error) or str(error) or type(error).__name__
    line = " ".join(text[: 4 * LONGEST].partition("Config search path:")[0].split())
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 2]} …"


def _of_disk(error: BaseException | str) -> str | None:
    """What a full disk means; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in (EDQUOT, ENOSPC):
        return None
    return f"{f'{error.filename}: ' if error.filename else ''}the disk is full; make room, and the same command goes on"


def _of_hydra(error: BaseException | str) -> str | None:
    """What an error of Hydra about a choice or key that does not exist means; None for any other error."""
    if choices := getattr(error, "options", None):
        group, _, choice = str(getattr(error, "missing_cfg_file", "")).rpartition("/")
        if (group, choice) == ("hydra/sweeper", "optuna"):
            return str(missing("sweep=tpe", "hydra-optuna-sweeper", "optuna"))
        return unknown(group, choice, choices)
    cause = getattr(error, "__cause__", None)
    if getattr(cause, "parent_node", None) is not None and str(error).startswith("Could not override"):
        place, _, key = str(cause.full_key).rpartition(".")  # type: ignore[union-attr]
        return no_such_key(key, cause.parent_node, f"{place}." if place else "")  # type: ignore[union-attr]
    return None


def unknown(key: str, choice: str, choices: Iterable[str]) -> str:
    """`method=colar: unknown; did you mean coral? choose from …`."""
    choices = list(choices)
    return f"{key}={choice}: unknown{nearest(choice, choices) or ';'} choose from {', '.join(choices)}"


def no_such_key(key: str, keys: Iterable[str], prefix: str = "", owner: str = "it", what: str = "no such key here") -> str:
    """`hp.learning_rat: no such key here; did you mean hp.learning_rate? OWNER has hp.l2, …`."""
    known = [f"{prefix}{other}" for other in keys]
    hint = nearest(f"{prefix}{key}", known) if nearest(key, keys) else ""
    return f"{prefix}{key}: {what}{hint or ';'} {owner} has {', '.join(known) or 'none'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where one of the known names is close; else nothing."""
    found = get_close_matches(name, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""

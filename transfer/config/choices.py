"""Composed once for each choice of groups: plain values are set afterwards, on a copy, as Hydra would set them.

Of the third of a second that Hydra takes, nearly all goes into finding and merging the files of the groups.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

Compose = Callable[[list[str]], DictConfig]
Declared = dict[Hashable, str]  # what modules of this process declare
KEY = r"(?!hydra\.)(?:seed|\w+(?:\.\w+)+)"  # a key with a dot is of no group
VALUE = re.compile(rf"(?:\+\+)?{KEY}=.*", re.DOTALL)
OTHER = re.compile(rf"[+~]{KEY}(?:=.*)?", re.DOTALL)  # adds or takes away: only in its place among the others
MOST = 256


class Kept(NamedTuple):
    """A composed configuration, and what was declared when it was made."""

    config: DictConfig
    declared: Declared


def once_per_choice(
    compose: Compose, kept: dict[Hashable, Kept], key: Hashable = None, declared: Callable[[], Declared] = dict
) -> Compose:
    """compose, which is asked once for the same groups; kept and key: what was composed before, for a state of the files.

    What was declared since, by modules that were imported since, changes nothing; what is declared otherwise now does.
    What does not fit is given to compose with all the words, so that errors are Hydra's own. `hydra.overrides` of the
    configuration names the words that chose groups alone.
    """

    def composed(words: list[str]) -> DictConfig:
        if any(OTHER.fullmatch(word) for word in words):
            return compose(words)
        values = [word for word in words if VALUE.fullmatch(word)]
        choices = [word for word in words if not VALUE.fullmatch(word)]
        place = (key, *choices)
        if place not in kept or not kept[place].declared.items() <= declared().items():
            if len(kept) >= MOST:
                kept.clear()
            kept[place] = Kept(compose(choices), declared())  # composing imports the modules that were chosen
        config = copy.deepcopy(kept[place].config)
        return config if _set(config, values) else compose(words)

    return composed


def _set(config: DictConfig, words: Sequence[str]) -> bool:
    """Set these values; whether all of them have a place and a meaning."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    try:
        for override in OverridesParser.create().parse_overrides(list(words)):
            if override.is_sweep_override():
                return False
            added = override.is_force_add()
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=added)
    except (OverrideParseException, OmegaConfBaseException):
        return False
    return True

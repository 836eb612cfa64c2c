"""The members of method=ensemble: each has the run's configuration with a method, and other overrides, of its own."""

from __future__ import annotations

from typing import Any

import yaml

from transfer.config.schema import Config, parse
from transfer.errors import TransferError
from transfer.experiment.checks import check_settings

OWN = ("method", "hp", "task", "model", "train")  # what of a configuration a member may have of its own


def members_of(config: Config) -> list[Config]:
    """The configuration of every member; none of another method. Raises TransferError for a member that has none."""
    return [_member(config, said) for said in config.method.model_dump().get("members", ())]


def _member(config: Config, said: str) -> Config:
    name, *words = said.split() or [""]
    raw: dict[str, Any] = {**config.model_dump(mode="json"), "method": {"name": name}, "hp": {}}
    for word in words:
        key, _, value = word.partition("=")
        *path, last = key.split(".")
        if not path or path[0] not in OWN or not value:
            keys = ", ".join(f"{key}.KEY" for key in OWN)
            raise TransferError(f'method.members: "{said}": {word} is no override of a member; write KEY=VALUE of {keys}')
        place = raw
        for step in path:
            place = place.setdefault(step, {})
        place[last] = yaml.safe_load(value)
    try:
        return check_settings(parse(raw))
    except TransferError as error:
        raise TransferError(f'method.members: "{said}": {error}') from None

"""task.domains=all: every domain of a world is a target, one after another, and none sees what another hides."""

from __future__ import annotations

from typing import Any

from transfer.config.domains import FileDomains, LabelledDomains
from transfer.config.schema import Config
from transfer.errors import TransferError
from transfer.experiment.result import Result

SPLITS = ("ratio", "leave_one_out")  # which hide some events of everybody, in any domain


def check(config: Config) -> None:
    """Raise TransferError, one line with a remedy, where not every domain can be a target at once."""
    if config.task.domains != "all":
        return
    if isinstance(config.domain, LabelledDomains):
        raise TransferError(f"task.domains=all is for worlds of readers, and {config.domain.name} has labelled examples")
    if config.split.name not in SPLITS:
        raise TransferError(
            f"task.domains=all hides events of every domain at once, and split={config.split.name} hides readers, items or "
            f"days of the target; write {' or '.join(f'split={name}' for name in SPLITS)}"
        )
    sources = config.domain.source if isinstance(config.domain, FileDomains) else (None,)
    if not sources:
        raise TransferError("task.domains=all evaluates the sources as targets too, and there is none; name domain.source")
    if any(source.each for source in sources if source is not None):
        raise TransferError("task.domains=all names its domains before a file is read; write them out in place of `each`")


def others(config: Config) -> list[int]:
    """The places of the domains that are targets too, after the target's own, 0; none of a run with one target."""
    if config.task.domains != "all" or config.task.asked:
        return []
    count = len(config.domain.source) if isinstance(config.domain, FileDomains) else 1
    return list(range(1, 1 + count))


def turned(config: Config, place: int) -> Config:
    """The configuration in which that domain is the target and all the others are its sources."""
    return config.model_copy(update={"task": config.task.model_copy(update={"asked": place})})


def figures(ended: list[list[Result]], row: int) -> dict[str, Any]:
    """What result.json of a run says of the other targets: status and metrics by the name of the domain."""
    found = {results[row].facts["world"]["target"]["name"]: results[row] for results in ended}
    return {name: {"status": of.status, "metrics": of.metrics} for name, of in found.items()}

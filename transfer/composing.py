"""Composing configurations of the words of a command, with what Hydra composed of the same choices before."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from transfer.config.choices import Declared, Kept
    from transfer.config.schema import Config

_HERE = Path(__file__).resolve().parent
_kept: dict[Hashable, Kept] = {}


def config_folder() -> Path:
    """Where the configuration lies: inside an installed package, beside it in a checkout."""
    inside = _HERE / "conf"
    return inside if inside.is_dir() else _HERE.parent / "conf"


def compose(overrides: Sequence[str] = ()) -> Config:
    """The configuration for these overrides, as `transfer OVERRIDES` has it. Raises TransferError for what does not fit."""
    from hydra.errors import HydraException

    from transfer.config.schema import parse
    from transfer.errors import TransferError, one_line

    words = spelled_out(overrides)
    try:
        return parse(composed(words))
    except HydraException as error:
        raise TransferError(one_line(error)) from None


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words of a command with `domain.target.path=FILE` for `domain.target=FILE`, and of a sweep with settings of swept
    choices on each of them. Raises TransferError for an unknown option, and for settings beside a list of sources."""
    from transfer.config.overrides import check_options, with_paths, with_swept_groups

    check_options(words)
    words = with_paths(words, _domain)
    return with_swept_groups(words) if {"-m", "--multirun"} & set(words) else words


def _domain(choices: list[str]) -> Any:
    """The domain that these choices of groups name, as plain values; None where they fit nothing (Hydra says what)."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(composed(choices).domain)
    except HydraException:
        return None


def composed(words: list[str]) -> DictConfig:
    """What Hydra composes of these words; composed once for the same groups while nothing of it changes."""
    import hydra

    from transfer.config.choices import once_per_choice

    def compose(words: list[str]) -> DictConfig:
        with _own_hydra(), hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return hydra.compose("config", overrides=words)

    if any(word.startswith("hydra.searchpath=") for word in words):  # somebody's folder, of which we know nothing
        return compose(words)
    return once_per_choice(compose, _kept, _files(), _declared)(words)


def _files() -> Hashable:
    """The files that configurations are made of, as they are now."""
    from transfer.registry import configuration_folders

    folders = [config_folder(), *(folder for _, folder in configuration_folders())]
    files = [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]
    return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)


def _declared() -> Declared:
    """What the modules of this process declare now."""
    from transfer.config.declared import KINDS, configuration
    from transfer.registry import imported

    modules = [(group, *one) for group, kind in KINDS.items() for one in imported(kind).items()]
    return {(group, name): str(configuration(group, name, module)) for group, name, module in modules}


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra as at its start, and afterwards again that of the application which calls us."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    instances: dict[type, Any] = Singleton._instances
    kinds: tuple[type, ...] = (GlobalHydra, JobRuntime, VersionBase)
    theirs = {kind: instances.pop(kind) for kind in kinds if kind in instances}
    try:
        yield
    finally:
        instances.update(theirs)

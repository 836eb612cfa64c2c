"""Composing configurations, from Python as from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transfer.config.schema import Config
    from transfer.experiment import Result

_HERE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """Where the configuration lies: inside an installed package, beside it in a checkout."""
    inside = _HERE / "conf"
    return inside if inside.is_dir() else _HERE.parent / "conf"


def compose(overrides: Sequence[str] = ()) -> Config:
    """The configuration for these overrides, as `transfer OVERRIDES` has it. Raises TransferError for what does not fit."""
    import hydra
    from hydra.errors import HydraException

    from transfer.config.schema import parse
    from transfer.errors import TransferError, one_line

    words = spelled_out(overrides)
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return parse(hydra.compose("config", overrides=words))
    except HydraException as error:
        raise TransferError(one_line(error)) from None


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words of a command with `domain.target.path=FILE` for `domain.target=FILE`. Raises TransferError where settings
    stand beside a list of sources."""
    from transfer.config.overrides import with_paths

    return with_paths(words, _domain)


def _domain(choices: list[str]) -> Any:
    """The domain that these choices of groups name, as plain values; None where they fit nothing (Hydra says what)."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return OmegaConf.to_container(hydra.compose("config", overrides=choices).domain)
    except HydraException:
        return None


def run(overrides: Sequence[str] = (), folder: str | Path | None = None) -> Result:
    """Run one configuration: `run(["method=emcdr", "seed=3"])`.

    overrides: as on the command line. folder: where to leave a run folder; None writes nothing. The result has
    `status`, `metrics` ({"valid": {...}, "test": {...}}), `parameters` by stage and a `predictor` with
    `score(users, items)` and `recommend(users, k)`. Raises TransferError, one line, for bad settings or data.
    """
    from transfer.experiment import run_batch
    from transfer.results.wandb_copy import upload

    result = run_batch([compose(overrides)], [Path(folder)] if folder is not None else None)[0]
    if result.folder and result.config.track.name == "wandb":
        upload(result.folder)
    return result

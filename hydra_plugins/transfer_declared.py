"""The configuration of a method or model, from what its module declares: name, Settings, HP and DEFAULTS."""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from transfer.config.declared import KINDS, configuration


class DeclaredSource(ConfigSource):
    """`method/NAME` and `model/NAME` for Hydra; `declared://ours` has the modules of this package, `://theirs` all others.

    Only the module that is asked for is imported.
    """

    @staticmethod
    def scheme() -> str:
        return "declared"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in KINDS

    def is_config(self, config_path: str) -> bool:
        from transfer.registry import RENAMED

        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return group in KINDS and RENAMED.get(KINDS[group], {}).get(name, name) in _names(group, self.path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else sorted(KINDS)
        return _names(config_path, self.path) if config_path in KINDS and results_filter != ObjectType.GROUP else []

    def load_config(self, config_path: str) -> ConfigResult:
        from transfer.registry import find

        group, _, name = config_path.removesuffix(".yaml").partition("/")
        config = OmegaConf.create(configuration(group, name, find(KINDS[group], name)))
        if "hp" in config:
            OmegaConf.set_struct(config.hp, False)  # experiment.checks knows which numbers there are, and refuses others
        return ConfigResult(self.provider, self.full_path(), config, {"package": "_global_"})


def _names(group: str, whose: str) -> list[str]:
    from transfer.registry import names, ours

    own = ours(KINDS[group])
    return [name for name in names(KINDS[group]) if (name in own) == (whose == "ours")]

"""The configuration of a method or model, from what its module declares: name, Settings, HP and DEFAULTS."""

from __future__ import annotations

from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

KINDS = {"method": "methods", "model": "models"}


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
        config = OmegaConf.create(declared(group, name, find(KINDS[group], name)))
        if "hp" in config:
            OmegaConf.set_struct(config.hp, False)  # experiment.checks knows which numbers there are, and refuses others
        return ConfigResult(self.provider, self.full_path(), config, {"package": "_global_"})


def _names(group: str, whose: str) -> list[str]:
    from transfer.registry import names, ours

    own = ours(KINDS[group])
    return [name for name in names(KINDS[group]) if (name in own) == (whose == "ours")]


def declared(group: str, name: str, module: Any) -> dict[str, Any]:
    """What a module declares, as its configuration file would say it."""
    from transfer.config.schema import Method, Model

    usual: type[Method | Model] = Method if group == "method" else Model
    settings = getattr(module, "Settings", usual).model_fields
    shared = {key: field.get_default() for key, field in usual.model_fields.items() if not field.is_required()}
    own = {
        key: "???" if field.is_required() else field.get_default(call_default_factory=True)
        for key, field in settings.items()
        if key != "name" and (key not in shared or field.get_default() != shared[key])
    }
    chosen = getattr(module, "DEFAULTS", {})
    return {
        "defaults": [*({f"override /{key}": value} for key, value in chosen.items() if isinstance(value, str)), "_self_"],
        group: {"name": name, **own},
        "hp": {key: number.default for key, number in getattr(module, "HP", {}).items()},
        **{key: value for key, value in chosen.items() if not isinstance(value, str)},
    }

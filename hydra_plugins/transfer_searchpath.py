"""Makes `method=NAME` of an installed package work: its configuration is found in the `conf` folder beside its module."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

GROUPS = ("transfer.methods", "transfer.models", "transfer.tasks")


class TransferSearchPath(SearchPathPlugin):
    """Adds the configuration of packages with transfer's entry points, to transfer's own application only."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        main = next((element.path for element in search_path.get_path() if element.provider == "main"), None) or ""
        if not (Path(main.removeprefix("file://")) / "method" / "target_only.yaml").exists():
            return
        packages = {point.module.split(".")[0] for group in GROUPS for point in entry_points(group=group)}
        for package in sorted(packages - {"transfer"}):
            spec = find_spec(package)
            for place in (spec.submodule_search_locations if spec else None) or []:
                if (folder := Path(place) / "conf").is_dir():
                    search_path.append(provider=package, path=f"file://{folder}")

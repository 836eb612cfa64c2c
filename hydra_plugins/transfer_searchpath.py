"""Makes `method=NAME` work: from what the method's module declares, or from the `conf` folder beside an installed one."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class TransferSearchPath(SearchPathPlugin):
    """Adds what methods and models declare, and the files of packages with transfer's entry points, to transfer's own
    application only. The order is: our declarations, their files, their declarations."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        main = next((element.path for element in search_path.get_path() if element.provider == "main"), None) or ""
        if not (Path(main.removeprefix("file://")) / "domain" / "files_base.yaml").exists():
            return
        from transfer.registry import configuration_folders

        search_path.append(provider="transfer", path="declared://ours")
        for package, folder in configuration_folders():
            search_path.append(provider=package, path=f"file://{folder}")
        search_path.append(provider="transfer", path="declared://theirs")

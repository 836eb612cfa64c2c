"""Files as words of a command: FILE, or '{path: FILE, KEY: VALUE}', and KEY=VALUE for what is said of all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from transfer.errors import TransferError


def given_files(words: Sequence[str], command: str) -> tuple[list[dict[str, Any]], Path]:
    """What is said of every file, and where they lie (data_dir=FOLDER, TRANSFER_DATA or here)."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    files, common = list[dict[str, Any]](), dict[str, Any]()
    for word in words:
        key, sign, _ = word.partition("=")
        try:
            if word.startswith("{"):
                files.append(cast("dict[str, Any]", parser.parse_override(f"file={word}").value()))
            elif sign and key.isidentifier() and not Path(word).exists():
                common[key] = parser.parse_override(word).value()
            else:
                files.append({"path": word})
        except HydraException as error:
            raise TransferError(f"{word}: {str(error).splitlines()[0]}; write '{{path: FILE, KEY: VALUE}}'") from None
    data_dir = Path(common.pop("data_dir", None) or os.environ.get("TRANSFER_DATA", "."))
    if not files or not all(isinstance(one.get("path"), str) for one in files):
        raise TransferError(f"which file? Write {command} FILE, or '{{path: FILE, KEY: VALUE}}'")
    return [common | one for one in files], data_dir

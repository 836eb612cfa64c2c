"""The configuration: the schema that YAML is checked against, and what modules declare of themselves.

No file is read and no array made here.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """`from transfer.config import Method` works; the schema is loaded when it is asked for."""
    if not name[:1].isupper():
        raise AttributeError(name)
    return getattr(import_module("transfer.config.schema"), name)

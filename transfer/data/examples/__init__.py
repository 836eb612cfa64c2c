"""Labelled examples: read, split, make features. No users or items."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """`from transfer.data.examples import ExamplesWorld` works, as it did when this was a module."""
    if not name[:1].isupper():
        raise AttributeError(name)
    return getattr(import_module("transfer.data.examples.world"), name)

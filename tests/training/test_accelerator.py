"""Flags for accelerators: given where they are needed, and never in place of the user's own."""

from __future__ import annotations

import importlib.util
import os

import jaxlib
import pytest

from transfer.sweep import engines
from transfer.training import device_memory
from transfer.training.accelerator import ATOMIC, tell_compiler


@pytest.mark.parametrize(
    ("version", "plugin", "flags", "after"),
    [
        ("0.10.2", "jax_cuda13_plugin", "", ATOMIC),
        ("0.11.0", "jax_cuda12_plugin", "--xla_dump_to=X", f"--xla_dump_to=X {ATOMIC}"),
        ("0.11.0", "jax_cuda12_plugin", "--xla_backend_extra_options=-mine", "--xla_backend_extra_options=-mine"),
        ("0.11.1", "jax_cuda12_plugin", "", ""),
        ("0.10.2", "none", "", ""),
    ],
)
def test_atomic_addition_is_asked_for_where_the_release_lacks_it(
    version: str, plugin: str, flags: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxlib, "__version__", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == plugin or None)
    monkeypatch.setenv("XLA_FLAGS", flags)
    tell_compiler()
    assert os.environ["XLA_FLAGS"] == after


def test_a_program_of_a_sweep_asks_for_it_before_it_looks_at_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend reads its flags once, when it starts."""
    monkeypatch.setattr(jaxlib, "__version__", "0.11.0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin" or None)
    monkeypatch.setenv("XLA_FLAGS", "")
    flags: list[str] = []
    monkeypatch.setattr(device_memory, "free_memory", lambda: flags.append(os.environ["XLA_FLAGS"]) or 2.0**30)
    engines.run_work({"configs": [], "folders": [], "max_batch": None, "reuse": None, "share": 1})
    assert flags == [ATOMIC]

"""What the compiler of an accelerator has to be told before its backend starts."""

from __future__ import annotations

import importlib.util
import os

import jaxlib

# Releases that compile float32 scatter-add on CUDA to a loop of compare-and-swap, hundreds of times slower where indices
# collide, as rows of tables do (jax issue 38806), and what gives the atomic addition back.
SLOW_SCATTER, ATOMIC = ("0.10.2", "0.11.0"), "--xla_backend_extra_options=-nvptx-allow-ftz-atomics"
CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def tell_compiler() -> None:
    """Add to XLA_FLAGS what this release needs, where a CUDA plugin is installed and the flag is not the user's own."""
    flags = os.environ.get("XLA_FLAGS", "")
    needed = jaxlib.__version__ in SLOW_SCATTER and any(map(importlib.util.find_spec, CUDA))
    if needed and ATOMIC.partition("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {ATOMIC}".strip()

"""Seconds of a training step in a process of its own, with the flags of its environment: `one_step.py WORDS`."""

from __future__ import annotations

import sys

from benchmarks.steps import step
from transfer.training.compile_cache import use_compile_cache

if __name__ == "__main__":
    use_compile_cache()
    print(step(tuple(sys.argv[1:]))())

"""How much memory a device has, and an executable needs, by the compiler's own analysis."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from transfer.storage.memory import Free, host_memory
from transfer.training.processes import everywhere

# The part of the memory found free that an executable may ask for.
SHARE = 0.8


class Memory(NamedTuple):
    """Bytes on one device that an executable says it needs in all, and those of its arguments, there before it runs."""

    need: float
    held: float


def memory_of(executable: Any) -> Memory:
    facts = executable.memory_analysis()
    if facts is None:  # some backends do not tell
        return Memory(0.0, 0.0)
    held = facts.argument_size_in_bytes + facts.output_size_in_bytes - facts.alias_size_in_bytes
    return Memory(held + facts.temp_size_in_bytes, facts.argument_size_in_bytes)


class There(NamedTuple):
    """What one device has; whole: all of it, with what arguments take already."""

    free: Free
    whole: bool


def device_memory() -> There:
    """All of a device's own memory, or what is free of the host's where they are the same; the least of all processes."""
    devices = jax.local_devices()
    facts = devices[0].memory_stats()
    whole = bool(facts) and "bytes_limit" in facts
    free = Free(facts["bytes_limit"], "of the device") if whole else host_memory()
    size = free.size if whole else free.size / len(devices)
    return There(Free(float(everywhere(size).min()), free.bound), whole)


def free_memory() -> float:
    """Bytes that an executable may need on one device: of its own memory, or of the host's where they are the same."""
    return SHARE * device_memory().free.size

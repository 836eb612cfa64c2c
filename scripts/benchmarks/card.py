"""What a card can do at most: bytes copied and float32 products a second, measured; and work as fractions of these."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from benchmarks.measuring import Row, best_of

COPY, PRODUCT = "the measured copy bandwidth", "the measured matrix rate"


class Work(NamedTuple):
    """Seconds of something, the bytes that it has to move at least, and the floating-point operations of its products."""

    what: str
    seconds: Callable[[], float]
    moved: float = 0.0
    operations: float = 0.0


def fractions(works: Sequence[Work], turns: int, scale: float) -> list[Row]:
    """Each work's least traffic and its products, by second, as fractions of what the device does in the same turn."""
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(turns):
        rates = {COPY: copied_per_second(scale), PRODUCT: operations_per_second(scale)}
        for what, seconds, moved, operations in works:
            took = seconds()
            for of, amount in ((COPY, moved), (PRODUCT, operations)):
                if amount:
                    found.setdefault((what, of), []).append(amount / took / rates[of])
        print(f"turn {turn + 1} of {turns}", file=sys.stderr)
    return [Row(*name, statistics.median(of), min(of), max(of), turns) for name, of in found.items()]


def facts(scale: float) -> dict[str, float]:
    """The rates of this device, for the file of the machine."""
    return {"copied_gb_per_second": copied_per_second(scale) / 1e9, "tflop_per_second": operations_per_second(scale) / 1e12}


def copied_per_second(scale: float) -> float:
    """Bytes read and written, of a buffer that no cache holds (1 GiB)."""
    add, x = _buffer(max(2**20, int(scale * 2**28)))
    return 2 * x.nbytes / best_of(lambda: add(x), 0.1)


def operations_per_second(scale: float) -> float:
    """Of a square product at JAX's default precision (8,192 rows), that of the programs."""
    multiply, x = _square(max(256, int(scale**0.5 * 8192)))
    return 2 * len(x) ** 3 / best_of(lambda: multiply(x), 0.1)


@cache
def _buffer(entries: int) -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    return jax.jit(lambda x: x + 1), jnp.zeros(entries, jnp.float32)


@cache
def _square(rows: int) -> tuple[Any, Any]:
    import jax

    return jax.jit(lambda x: x @ x), jax.random.normal(jax.random.key(0), (rows, rows))


def ranking(users: int, items: int, dim: int) -> Work:
    """Rank every item for every user, each with a hidden one: scores, what is known masked, places, the best of each list.

    The scores have to be written and read once at least, wherever they are not kept on the chip.
    """
    import jax

    from benchmarks.long_tables import world_of
    from transfer.evaluate import ranked

    heldout = jax.device_put(world_of(users, items, hidden=users).test)
    keys = jax.random.split(jax.random.key(0))
    of_users, of_items = (jax.random.normal(key, (n, dim)) for key, n in zip(keys, (users, items), strict=True))

    @jax.jit
    def measured(of_users: Any, of_items: Any, heldout: Any) -> Any:
        return ranked.evaluate(lambda some: of_users[some] @ of_items.T, heldout, (5, 10, 20), 0)

    seconds = partial(best_of, lambda: measured(of_users, of_items, heldout), 0.1, 1)
    name = f"full ranking, {users:,} users x {items:,} items of {dim} numbers"
    return Work(name, seconds, 2 * 4.0 * users * items, 2.0 * users * items * dim)

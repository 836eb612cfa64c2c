"""In which order candidates are tried: does what is known of a world say it better than one fixed order?

A world is described by numbers that need no label of the test; a ridge regression on the other worlds foretells from them
what each candidate gains over popularity, and candidates are tried by foretold gain per second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from transfer.data.interactions.world import World

RANK, RIDGE = 8, 3.0
Line = dict[str, Any]  # of worlds.jsonl
Order = Callable[[Line, Sequence[Line]], list[str]]  # a world, the others -> names of candidates


def described(world: World) -> dict[str, float]:
    """Shared readers, density, events, Gini of items, and how far factors of both domains agree."""
    target, source = (_matrix(side.train) for side in (world.target, world.sources[0]))
    both = np.flatnonzero((target.getnnz(1) > 0) & (source.getnnz(1) > 0))
    counts = np.sort(target.getnnz(0))
    gini = float((2 * np.arange(1, len(counts) + 1) - len(counts) - 1) @ counts / (len(counts) * counts.sum()))
    return {
        "shared": len(both) / max(int((target.getnnz(1) > 0).sum()), 1),
        "log_shared": float(np.log1p(len(both))),
        "log_density": float(np.log(target.nnz / np.prod(target.shape))),
        "log_source_events": float(np.log1p(source[both].getnnz(1).mean() if len(both) else 0.0)),
        "log_target_events": float(np.log1p(target.nnz / max((target.getnnz(1) > 0).sum(), 1))),
        "gini": gini,
        "agreement": agreement(target[both], source[both]),
    }


def agreement(target: sp.csr_matrix, source: sp.csr_matrix) -> float:
    """The mean canonical correlation of readers' factors, found on half of them and measured on the other half."""
    if min(*target.shape, *source.shape) <= 2 * RANK:
        return 0.0
    rng = np.random.default_rng(0)
    factors = [_factors(part, rng) for part in (target, source)]
    halves = np.array_split(rng.permutation(target.shape[0]), 2)
    found = []
    for learnt, held in (halves, halves[::-1]):
        (a, b), centre = ([f[learnt] - f[learnt].mean(0) for f in factors]), [f[learnt].mean(0) for f in factors]
        roots = [np.linalg.inv(np.linalg.cholesky(x.T @ x / len(x) + 0.1 * np.eye(RANK))).T for x in (a, b)]
        u, _, vt = np.linalg.svd(roots[0].T @ (a.T @ b / len(a)) @ roots[1])
        left = (factors[0][held] - centre[0]) @ roots[0] @ u
        right = (factors[1][held] - centre[1]) @ roots[1] @ vt.T
        found += [float(np.corrcoef(left[:, k], right[:, k])[0, 1]) for k in range(3)]
    return float(np.nan_to_num(np.mean(found)))


def orders() -> dict[str, Order]:
    """Ways to put candidates into order, by name."""
    return {
        "fixed, as it stands": lambda world, others: list(world["candidates"]),
        "by the mean gain of the other worlds": lambda world, others: _best(world, _means(world, others)),
        "by foretold gain": lambda world, others: _best(world, _foretold(world, others)),
        "by foretold gain per second": lambda world, others: _best(world, _foretold(world, others), per_second=True),
        "oracle": lambda world, others: _best(world, {name: one["test"] for name, one in world["candidates"].items()}),
    }


def gains(world: Line) -> dict[str, float]:
    """What each candidate gains over popularity on the folds."""
    base = np.mean(world["candidates"]["method=popularity"]["folds"])
    return {name: float(np.mean(one["folds"]) - base) for name, one in world["candidates"].items()}


def _means(world: Line, others: Sequence[Line]) -> dict[str, float]:
    known = [gains(other) for other in others]
    return {name: float(np.mean([of[name] for of in known if name in of] or [0.0])) for name in world["candidates"]}


def _foretold(world: Line, others: Sequence[Line]) -> dict[str, float]:
    """Gains by ridge regression on what describes the worlds, standardised."""
    x = np.array([list(other["described"].values()) for other in others])
    mean, spread = x.mean(0), x.std(0) + 1e-9
    rows, asked = (x - mean) / spread, (np.array(list(world["described"].values())) - mean) / spread
    found = {}
    for name in world["candidates"]:
        known = np.array([gains(other).get(name, np.nan) for other in others])
        there = np.isfinite(known)
        if not there.any():
            found[name] = 0.0
            continue
        z, y = rows[there], known[there]
        slope = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean()))
        found[name] = float(y.mean() + asked @ slope)
    return found


def _best(world: Line, worth: dict[str, float], per_second: bool = False) -> list[str]:
    """The reference first, since nothing can be told without one; then the most worth."""
    seconds = {name: one["seconds"] if per_second else 1.0 for name, one in world["candidates"].items()}
    rest = [name for name in world["candidates"] if name != "method=popularity"]
    return ["method=popularity", *sorted(rest, key=lambda name: -worth[name] / seconds[name])]


def _matrix(events: Any) -> sp.csr_matrix:
    users, items, starts = jax.device_get((events.users, events.items, events.starts))
    count = int(starts[-1])
    shape = (events.n_users, events.n_items)
    return sp.csr_matrix((np.ones(count), (users[:count], items[:count])), shape=shape)


def _factors(matrix: sp.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """Readers' standardised factors of rank RANK, items centred by what is rare."""
    weighed = matrix @ sp.diags(1 / np.sqrt(np.maximum(matrix.getnnz(0), 1)))
    u, s, _ = svds(weighed.asfptype(), k=RANK, v0=rng.normal(size=min(weighed.shape)))
    f = u * s
    return (f - f.mean(0)) / (f.std(0) + 1e-12)

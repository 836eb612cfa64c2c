"""Seconds for 20 values of CORAL's λ on all 12 pairs: `python experiments/office_caltech/timing.py DATA_DIR [PAIRS]`.

Ours runs all 20 as replicas of one program per pair; the peer does the same with NumPy and scikit-learn, value by value,
once with the eigenvectors computed for each value (as a script does) and once with them kept for all values of a pair.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import permutations
from typing import Any

import jax
import numpy as np
from sklearn.svm import LinearSVC

from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.experiment import run_batch
from transfer.experiment.build import load_world

DOMAINS = ("amazon", "caltech", "dslr", "webcam")
VALUES = np.geomspace(0.01, 100, 20)
L2 = 10.0
ALL = ("split.stop=0", "train.replicas=vmap")  # what depends on the world alone is computed once for all values


def main(data_dir: str, first: int = 12) -> None:
    """Measure on the first so many pairs; prints a table for the README."""
    pairs = [
        ["domain=office_caltech", f"data_dir={data_dir}", f"domain.source={s}", f"domain.target={t}", *ALL]
        for s, t in list(permutations(DOMAINS, 2))[:first]
    ]
    seconds: dict[str, float] = {}
    found: dict[str, list[list[float]]] = {}
    for pair in pairs:
        batch = [compose([*pair, "method=coral", f"hp.shrinkage={v}", f"hp.l2={L2}"]) for v in VALUES]
        world: Any = load_world(batch[0]).world
        for label, run in (
            ("ours, compilation and distances included", lambda batch=batch: ours(batch)),
            ("ours, compiled before", lambda batch=batch: ours(batch)),
            ("NumPy and scikit-learn", lambda world=world: peer(world, keep=False)),
            ("the same, eigenvectors kept", lambda world=world: peer(world, keep=True)),
        ):
            began = time.perf_counter()
            found.setdefault(label, []).append(run())
            seconds[label] = seconds.get(label, 0.0) + time.perf_counter() - began
        print(pair[2:4], {label: round(value, 1) for label, value in seconds.items()}, file=sys.stderr, flush=True)
    print(
        f"{len(pairs)} pairs, {len(VALUES)} values of λ; {os.cpu_count()} CPU cores, {jax.devices()[0].device_kind},",
        end=" ",
    )
    print(", ".join(f"{name} {version(name)}" for name in ("jax", "numpy", "scikit-learn")))
    print("| | seconds | mean accuracy over pairs and values |\n|---|--:|--:|")
    for label, value in seconds.items():
        print(f"| {label} | {value:.1f} | {100 * np.mean(found[label]):.2f} |")


def ours(batch: list[Config]) -> list[float]:
    return [result.metrics["test"]["accuracy"] for result in run_batch(batch)]


def peer(world: ExamplesWorld, keep: bool) -> list[float]:
    """CORAL and a linear SVM (squared hinge) for every value, in float64 as NumPy has it."""
    source, y = np.asarray(world.sources[0].train.x, np.float64), np.asarray(world.sources[0].train.y).argmax(1)
    target, n = np.asarray(world.unlabelled, np.float64), world.test.n_events
    x_test, y_test = (np.asarray(part).reshape(-1, part.shape[-1])[:n] for part in (world.test.inputs.x, world.test.y))
    decompose: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = lambda x: np.linalg.eigh(np.cov(x.T))  # noqa: E731
    kept = [decompose(x) for x in (source, target)]
    accuracies = []
    for value in VALUES:
        (e_s, v_s), (e_t, v_t) = kept if keep else [decompose(x) for x in (source, target)]
        white = (source - source.mean(0)) @ (v_s * (np.maximum(e_s, 0) + value) ** -0.5) @ v_s.T
        mapped = white @ (v_t * (np.maximum(e_t, 0) + value) ** 0.5) @ v_t.T + target.mean(0)
        svm = LinearSVC(C=1 / (L2 * len(y)), intercept_scaling=10).fit(mapped, y)
        accuracies.append(float(svm.score(x_test, y_test.argmax(1))))
    return accuracies


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

"""Seconds for 20 values of CORAL's λ on all 12 pairs: `python experiments/office_caltech/timing.py DATA_DIR`.

Ours runs all 20 as replicas of one program per pair; the peer does the same with NumPy and scikit-learn, value by value,
once with the eigenvectors computed for each value (as a script does) and once with them kept for all values of a pair.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import permutations

import numpy as np
from sklearn.svm import LinearSVC

from transfer.api import compose
from transfer.data.examples import ExamplesWorld
from transfer.data.load import load_world
from transfer.experiment import run_batch

DOMAINS = ("amazon", "caltech", "dslr", "webcam")
VALUES = np.geomspace(0.01, 100, 20)
L2 = 10.0


def main(data_dir: str) -> None:
    pairs = [
        ["domain=office_caltech", f"data_dir={data_dir}", f"domain.source={s}", f"domain.target={t}", "split.stop=0"]
        for s, t in permutations(DOMAINS, 2)
    ]
    batches = [[compose([*pair, "method=coral", f"hp.shrinkage={v}", f"hp.l2={L2}"]) for v in VALUES] for pair in pairs]
    worlds = [load_world(batch[0]).world for batch in batches]
    seconds: dict[str, float] = {}
    found = {}
    for label, run in (
        ("ours, with compilation and distances", lambda i: [r.metrics["test"]["accuracy"] for r in run_batch(batches[i])]),
        ("ours, compiled before", lambda i: [r.metrics["test"]["accuracy"] for r in run_batch(batches[i])]),
        ("NumPy and scikit-learn", lambda i: peer(worlds[i], keep=False)),
        ("the same, eigenvectors kept", lambda i: peer(worlds[i], keep=True)),
    ):
        began = time.perf_counter()
        found[label] = [run(i) for i in range(len(pairs))]
        seconds[label] = time.perf_counter() - began
        accuracy = 100 * float(np.mean(found[label]))
        print(f"{label:40} {seconds[label]:7.1f} s   mean accuracy over pairs and values {accuracy:.2f}", flush=True)


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
    main(sys.argv[1])

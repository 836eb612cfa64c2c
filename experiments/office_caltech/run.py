"""Office-Caltech, 12 pairs: `python experiments/office_caltech/run.py DATA_DIR`; writes results.csv beside itself."""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import polars as pl

from transfer.api import compose
from transfer.experiment import run_batch

DOMAINS = ("amazon", "caltech", "dslr", "webcam")
L2 = (0.1, 1.0, 10.0, 100.0)
# method: its settings, and the numbers among which source validation chooses
HONEST: dict[str, tuple[list[str], list[list[str]]]] = {
    "source_only": (["method.classifier=svm"], [[f"hp.l2={l2}"] for l2 in L2]),
    "coral": ([], [[f"hp.l2={l2}", "hp.shrinkage=1"] for l2 in L2]),
    "ot_map": (["method.classifier=svm"], [[f"hp.l2={l2}"] for l2 in L2]),
}
SIZES = {"amazon": 958, "caltech": 1123, "dslr": 157, "webcam": 295}
# the literature's settings on the whole source, nothing selected; C as LIBLINEAR counts it, hp.l2 = 1 / (C n)
PUBLISHED: dict[str, list[str]] = {
    "1-NN": ["method=source_only", "method.classifier=nn"],
    "SVM": ["method=source_only", "method.classifier=svm", "C=1"],
    "GFK": ["method=gfk", "method.dim=20", "method.classifier=nn"],
    "TCA": ["method=tca", "method.dim=40", "method.classifier=nn"],
    "CORAL": ["method=coral", "method.classifier=svm", "hp.l2=10"],
    "subspace alignment": ["method=subspace_alignment", "method.dim=20", "method.classifier=nn"],
}


def main(data_dir: str, seeds: int = 3) -> None:
    place = Path(__file__).with_name("results.csv")
    rows = pl.read_csv(place).to_dicts() if place.exists() else []  # pairs that are there are not run again
    have = {(row["source"], row["target"]) for row in rows}
    for source, target in permutations(DOMAINS, 2):
        if (source, target) in have:
            continue
        base = ["domain=office_caltech", f"data_dir={data_dir}", f"domain.source={source}", f"domain.target={target}"]
        base.append("train.progress=false")
        pair = {"source": source, "target": target}
        for name, words in PUBLISHED.items():
            words = [f"hp.l2={1 / (float(w[2:]) * SIZES[source])}" if w.startswith("C=") else w for w in words]
            (result,) = run_batch([compose([*base, "split.stop=0", *words])])
            rows.append({**pair, "protocol": "published", "method": name, "seed": 0, **figures(result.metrics["test"])})
        for name, (words, grid) in HONEST.items():
            for seed in range(seeds):
                common = [*base, f"method={name}", *words, f"split.seed={seed}"]
                results = run_batch([compose([*common, *numbers]) for numbers in grid])
                best = max(results, key=lambda result: result.objective)
                rows.append({**pair, "protocol": "honest", "method": name, "seed": seed, **figures(best.metrics["test"])})
        print(source, target, flush=True)
        pl.DataFrame(rows).write_csv(place)
    table = pl.DataFrame(rows).group_by("protocol", "method", "seed").agg(pl.col("accuracy").mean())
    for (protocol, method), part in sorted(table.group_by("protocol", "method")):
        values = 100 * part["accuracy"].to_numpy()
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        print(f"{protocol:10} {method:22} {values.mean():.1f}{spread}")


def figures(metrics: dict[str, float]) -> dict[str, float]:
    return {name: round(metrics[name], 5) for name in ("accuracy", "macro_f1")}


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))

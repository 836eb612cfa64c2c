"""Amazon reviews, 12 pairs: `python experiments/amazon_reviews/run.py DATA_DIR`; writes results.csv beside itself."""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from transfer.api import compose
from transfer.experiment import run_batch

DOMAINS = ("books", "dvd", "electronics", "kitchen")
L2 = (3e-4, 1e-3, 3e-3)
# label: words, and the numbers among which the held-out part of the source chooses
METHODS: dict[str, tuple[list[str], list[list[str]]]] = {
    "source_only, tfidf, softmax": (["method=source_only", "method.classifier=softmax"], [[f"hp.l2={l2}"] for l2 in L2]),
    "coral, tfidf, softmax": (
        ["method=coral", "method.classifier=softmax"],
        [["hp.l2=0.001", f"hp.shrinkage={s}"] for s in (1e-4, 1e-3)],
    ),
    "importance_weighting, tfidf, softmax": (
        ["method=importance_weighting", "method.classifier=softmax"],
        [[f"hp.l2={l2}"] for l2 in L2],
    ),
}


def main(data_dir: str, seeds: int = 3) -> None:
    rows: list[dict[str, Any]] = []
    for name, (words, grid) in METHODS.items():
        for source, target in permutations(DOMAINS, 2):
            base = ["domain=amazon_reviews", f"data_dir={data_dir}", f"domain.source={source}", f"domain.target={target}"]
            for seed in range(1 if name.startswith("coral") else seeds):  # coral: a large eigenproblem
                common = [*base, *words, f"split.seed={seed}"]
                results = run_batch([compose([*common, *numbers]) for numbers in grid])
                best = max(results, key=lambda result: result.objective)
                test = {key: round(best.metrics["test"][key], 5) for key in ("accuracy", "auc", "log_loss")}
                apart = {f"proxy_a_{key}": round(value["proxy_a"], 4) for key, value in best.facts["distance"].items()}
                rows.append({"source": source, "target": target, "method": name, "seed": seed, **test, **apart})
            pl.DataFrame(rows).write_csv(Path(__file__).with_name("results.csv"))
        print(
            name,
            len(rows),
            round(100 * float(np.mean([r["accuracy"] for r in rows if r["method"] == name])), 2),
            flush=True,
        )
    table = pl.DataFrame(rows).group_by("method", "seed").agg(pl.col("accuracy").mean())
    for (method,), part in sorted(table.group_by("method")):
        values = 100 * part["accuracy"].to_numpy()
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else " (one seed)"
        print(f"{method:40} {values.mean():.2f}{spread}")


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))

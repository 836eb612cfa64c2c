"""Movies -> books, genres: `python experiments/movie_to_book_genres/run.py DATA_DIR`; writes results.csv beside itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from transfer.api import compose
from transfer.experiment import run_batch

L2 = (1e-6, 1e-5, 1e-4)


def main(data_dir: str, seeds: int = 3) -> None:
    rows = []
    base = ["domain=movie_to_book_genres", f"data_dir={data_dir}", "task.select=macro_f1", "domain.words=2000"]
    for labels in (5, 50, 500):
        methods = {
            "target_only": [[f"hp.l2={l2}"] for l2 in L2],
            "source_only": [[f"hp.l2={l2}", f"hp.target_weight={w}"] for l2 in L2 for w in (1, 10)],
        }
        for name, grid in methods.items():
            for seed in range(seeds):
                words = [
                    f"method={name}",
                    "method.classifier=softmax",
                    f"split.target_labels={labels}",
                    f"split.seed={seed}",
                ]
                results = run_batch([compose([*base, *words, *numbers]) for numbers in grid])
                best = max(results, key=lambda result: result.objective)
                row = {"method": "source and target" if name == "source_only" else name, "labels": labels, "seed": seed}
                figures = {key: round(best.metrics["test"][key], 5) for key in ("macro_f1", "micro_f1", "auc")}
                rows.append({**row, **figures, "target_weight": best.config.hp.get("target_weight")})
                pl.DataFrame(rows).write_csv(Path(__file__).with_name("results.csv"))
            values = np.array([row["macro_f1"] for row in rows[-seeds:]])
            print(f"{labels:4} {row['method']:20} macro-F1 {values.mean():.3f} ± {values.std(ddof=1):.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))

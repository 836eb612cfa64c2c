"""MNIST <-> USPS: `python experiments/digits/run.py DATA_DIR`; writes results.csv beside itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from transfer.api import compose
from transfer.experiment import run_batch

BUDGET = ["train.epochs=60", "train.batch_size=256", "train.patience=15", "train.progress=false", "split.transductive=true"]
METHODS = {
    "source_only": ["hp.learning_rate=0.001"],
    "adabn": ["hp.learning_rate=0.001"],
    "mmd": ["hp.learning_rate=0.001", "hp.weight=1"],
    "deep_coral": ["hp.learning_rate=0.001", "hp.weight=10"],
    "jdot": ["hp.learning_rate=0.001", "hp.weight=0.3"],
}


def main(data_dir: str, seeds: int = 3) -> None:
    rows = []
    for source, target in (("mnist", "usps"), ("usps", "mnist")):
        base = ["domain=digits", f"data_dir={data_dir}", f"domain.source={source}", f"domain.target={target}", *BUDGET]
        for model in ("softmax", "cnn"):
            for name, numbers in METHODS.items():
                if model == "softmax" and name not in ("source_only", "adabn"):
                    continue
                words = [*base, f"method={name}", f"model={model}", *numbers]
                for result in run_batch([compose([*words, f"seed={seed}"]) for seed in range(seeds)]):
                    row = {"source": source, "target": target, "model": model, "method": name}
                    rows.append(
                        {**row, "seed": result.config.seed, "accuracy": round(result.metrics["test"]["accuracy"], 5)}
                    )
                values = 100 * np.array([row["accuracy"] for row in rows[-seeds:]])
                print(f"{source}->{target} {model:8} {name:12} {values.mean():.1f} ± {values.std(ddof=1):.1f}", flush=True)
                pl.DataFrame(rows).write_csv(Path(__file__).with_name("results.csv"))


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))

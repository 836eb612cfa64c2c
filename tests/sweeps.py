"""Sweep folders written without training: planted values by user, in the very files that runs leave."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from planted import RANKING, RATING

from transfer.api import compose

USERS = 120
# Half of the users are cold, the others have 1 to 8 training events.
HISTORY = np.where(np.arange(USERS) % 2 == 0, 0, np.arange(USERS) % 8 + 1)


@cache
def base(task: str) -> dict[str, Any]:
    words = {"ranking": [*RANKING, "method=emcdr"], "rating": [*RATING, "method=emcdr"]}
    words["classification"] = ["domain=digits_shift", "method=coral", "hp.l2=0.1"]
    return compose(words[task]).model_dump(mode="json")


# What result.json says of a world of examples.
EXAMPLES = {
    "target": {"name": "rotated", "train": 0, "stop": 0, "unlabelled": 90, "test": USERS, "selecting": "sources"},
    "sources": [{"name": "plain", "train": 90, "stop": 10, "unlabelled": 0, "test": 0}],
    "classes": ["zero", "one"],
    "inputs": [4],
    "multi_label": False,
}


def write_run(folder: Path, *overrides: str, values: Any = None, task: str = "ranking", **result: Any) -> Path:
    """One run folder: values [users] are what its users score (nDCG, or squared errors); None writes no result of its own.

    overrides: `key=value` words, that change the configuration too; result: more keys of result.json.
    """
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    config = json.loads(json.dumps(base(task)))
    for word in overrides:
        key, value = word.split("=", 1)
        place = config
        *path, last = (f"{key}.name" if isinstance(config.get(key), dict) else key).split(".")
        for step in path:
            place = place[step]
        place[last] = yaml.safe_load(value)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    names = {"domain": config["domain"]["name"], "task": task, "method": config["method"]["name"], "model": "mf"}
    metric, sign = {"ranking": ("ndcg@10", 1), "rating": ("rmse", -1), "classification": ("accuracy", 1)}[task]
    facts: dict[str, Any] = {"metrics": {"valid": {}, "test": {}}, **names, "seed": config["seed"]}
    if values is not None:
        x, events = np.asarray(values, np.float32), 1 + np.arange(USERS) % 3
        table = {"user": np.arange(USERS), "history": HISTORY, "events": events}
        frame = pl.DataFrame({name: column.astype(np.int32) for name, column in table.items()})
        columns = {"ndcg@10": x, "recall@10": x / 2} if task == "ranking" else {"accuracy": x}
        if task == "rating":
            columns = {"mae": np.sqrt(x), "mse": x}
        frame.with_columns(**columns).write_parquet(folder / "per_user.parquet", compression="zstd")
        mean = float(np.sqrt(np.average(x, weights=events))) if task == "rating" else float(x.mean())
        part = {"train": {"users": USERS, "items": 60, "events": 900}}
        facts |= {
            "status": "done",
            "metrics": {"valid": {metric: mean + 0.01}, "test": {metric: mean, "recall@10": mean / 2}},
            "id": folder.name,
            "uses_source": names["method"] not in ("target_only", "popularity"),
            "split_seed": config["split"]["seed"],
            "select": {"metric": metric, "sign": sign, "by": "valid"},
            "protocol": {"split": config["split"], "candidates": "all", "positives": config["task"]["positives"]},
            "world": EXAMPLES
            if task == "classification"
            else {"target": {"name": "books", **part, "test": part["train"]}, "sources": [{"name": "movies", **part}]},
            "fingerprint": f"{names['domain']}-{config['domain'].get('target')}-{config['split']['seed']}",
            "seconds": {"train": 2.0, "evaluate": 0.5},
            "replicas": 1,
            "trainable_parameters": 1000 + len(names["method"]),
            "versions": {"transfer": "0.1.0", "jax": "0.10"},
            "python": "3.11",
            "device": "cpu:cpu",
        }
        lines = [{"stage": "target", "step": 10 * i, "loss": 1 / i, metric: mean * (1 - 0.5**i)} for i in range(1, 6)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if values is not None or result:
        (folder / "result.json").write_text(json.dumps(facts | result))
    return folder


def write_sweep(
    folder: Path,
    gains: dict[str, float],
    seeds: Iterable[int] = (0, 1),
    splits: Iterable[int] = (0, 1, 2),
    noise: float = 0.05,
) -> Path:
    """Methods whose users score a common draw of their split plus a gain plus own noise; three runs that failed."""
    number = 0
    for method, gain in gains.items():
        for split in splits:
            common = np.random.default_rng(split).uniform(0.2, 0.6, USERS)
            for seed in seeds:
                own = np.random.default_rng([split, seed, len(method), ord(method[0])]).normal(gain, noise, USERS)
                words = (f"method={method}", f"seed={seed}", f"split.seed={split}")
                write_run(folder / str(number), *words, values=common + own)
                number += 1
    write_run(folder / str(number), "method=cmf", "seed=0", status="failed", error="first <b>line</b>\nsecond")
    write_run(folder / str(number + 1), "method=cmf", "seed=1", status="diverged")
    write_run(folder / str(number + 2), "method=cmf", "seed=2")
    return folder

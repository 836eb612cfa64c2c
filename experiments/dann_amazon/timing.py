"""Seconds of DANN here and in plain PyTorch: `python experiments/dann_amazon/timing.py DATA_DIR [ROUNDS] [EPOCHS]`.

2 pairs × 4 weights × 2 seeds: 16 runs of the study's network, with the same batches, steps, optimizer and evaluations on
both sides, in turns in one process. Ours is all of `run_batch` (reading, features, compilation or its cache, training,
evaluation, distances of the domains); the peer trains and evaluates on arrays that are there, on a GPU where ours does.
PyTorch: `make parity`.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.metadata import version
from itertools import product
from typing import Any

import jax
import numpy as np
import torch

from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.experiment import run_batch
from transfer.experiment.build import load_world

PAIRS = (("books", "dvd"), ("electronics", "books"))
WEIGHTS, SEEDS = (0.03, 0.1, 0.3, 1.0), (0, 1)
NETWORK = ("model=mlp", "model.dim=50", "method=dann", "method.depth=0", "hp.learning_rate=0.001")
TRAIN = ("train.batch_size=64", "train.evaluate_every=5", "train.keep=last", "train.progress=false")


def main(data_dir: str, rounds: int = 4, epochs: int = 20) -> None:
    """Measure so many rounds, of which the first compiles; prints a table for the README."""
    batches = [
        [
            compose(
                [
                    *(
                        "domain=amazon_reviews",
                        f"data_dir={data_dir}",
                        f"domain.source={source}",
                        f"domain.target={target}",
                    ),
                    *(*NETWORK, *TRAIN, f"train.epochs={epochs}", f"hp.weight={weight}", f"seed={seed}"),
                ]
            )
            for weight, seed in product(WEIGHTS, SEEDS)
        ]
        for source, target in PAIRS
    ]
    torch.set_default_device("cuda" if jax.default_backend() == "gpu" else "cpu")
    worlds: list[Any] = [load_world(batch[0]).world for batch in batches]
    print(f"{sum(map(len, batches))} runs; {os.cpu_count()} CPU cores, of which {len(os.sched_getaffinity(0))} are used,")
    print(f"{torch.get_num_threads()} threads of PyTorch,", ", ".join(f"{n} {version(n)}" for n in ("jax", "torch")))
    print("| round | here, s | training alone, s | PyTorch, s | ratio | accuracy here | accuracy of PyTorch |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    ratios = []
    for number in range(rounds):
        began = time.perf_counter()
        done = [run_batch(batch) for batch in batches]
        middle = time.perf_counter()
        there = [peer(config, world) for batch, world in zip(batches, worlds, strict=True) for config in batch]
        ours, theirs = middle - began, time.perf_counter() - middle
        steps = sum(results[0].facts["seconds"]["steps"] for results in done)  # of a program, for all its runs
        here = [result.metrics["test"]["accuracy"] for results in done for result in results]
        ratios.append((theirs / ours, theirs / steps))
        said = f"{ours:.1f} | {steps:.1f} | {theirs:.1f} | {theirs / ours:.2f} | {100 * np.mean(here):.2f}"
        print(f"| {number + 1}{'' if number else ', compiles'} | {said} | {100 * np.mean(there):.2f} |", flush=True)
    later = np.array(ratios[1:] or ratios)
    for label, values in zip(("whole runs", "training alone"), later.T, strict=True):
        print(
            f"PyTorch / here, {label}, without the first round: {values.mean():.2f} ± {values.std(ddof=len(later) > 1):.2f}"
        )
    print(f"({jax.devices()[0].device_kind}; above 1 this is faster)")


class Reverse(torch.autograd.Function):
    """x as it is, with -weight times its gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradients[0], None


def peer(config: Config, world: ExamplesWorld) -> float:
    """One run as a script has it: test accuracy."""
    torch.manual_seed(config.seed)
    source, hp = world.sources[0].train, config.hp
    x, y, target = (torch.tensor(np.asarray(part)) for part in (source.x, source.y.argmax(1), world.unlabelled))
    body = torch.nn.Sequential(torch.nn.Linear(x.shape[1], config.model.model_dump()["dim"]), torch.nn.ReLU())
    width = body[0].out_features
    head, judge = torch.nn.Linear(width, 2), torch.nn.Linear(width, 1)
    torch.nn.init.zeros_(judge.weight)
    parameters = [*body.parameters(), *head.parameters(), *judge.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=hp["learning_rate"])
    size, epochs = config.train.batch_size, config.train.epochs
    per_epoch = -(-len(x) // size)
    entropy, sign = torch.nn.CrossEntropyLoss(), torch.nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(size, 1), torch.zeros(size, 1)
    for step in range(epochs * per_epoch):
        weight = hp["weight"] * (2 / (1 + np.exp(-hp["gamma"] * step / (epochs * per_epoch))) - 1)
        rows, others = torch.randint(len(x), (size,)), torch.randint(len(target), (size,))
        z, there = body(x[rows]), body(target[others])
        loss = entropy(head(z), y[rows].long())
        loss = loss + (sign(judge(Reverse.apply(z, weight)), ones) + sign(judge(Reverse.apply(there, weight)), zeros)) / 2
        loss = loss + hp["l2"] / 2 * sum(p.square().sum() for p in parameters if p.ndim > 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % (per_epoch * config.train.evaluate_every) == 0:
            accuracy(body, head, world.valid)
    return accuracy(body, head, world.test)


def accuracy(body: Any, head: Any, hidden: Any) -> float:
    x, y = (np.asarray(part).reshape(-1, part.shape[-1]) for part in (hidden.inputs.x, hidden.y))
    with torch.no_grad():
        said = head(body(torch.tensor(x[: hidden.n_events]))).argmax(1).numpy(force=True)
    return float(np.mean(said == y[: hidden.n_events].argmax(1)))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

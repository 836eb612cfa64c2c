"""Planted logs, with the true value of every policy in closed form. NumPy only.

reward of item a in context c:  Bernoulli(rate[c, a]),  context c with chance share[c],  shown with chance logging[c, a]
V(π) = Σ_c share[c] Σ_a π(a|c) rate[c, a]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """share [contexts], rate and logging [contexts, items]."""

    share: Floats
    rate: Floats
    logging: Floats

    def value(self, table: Floats) -> float:
        """The true mean reward of a policy [contexts, items]."""
        return float(self.share @ (table * self.rate).sum(1))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
        """context, item, propensity and reward of n impressions."""
        context = rng.choice(len(self.share), n, p=self.share)
        above = np.cumsum(self.logging, axis=1)[context] > rng.random((n, 1))
        item = above.argmax(1)
        reward = (rng.random(n) < self.rate[context, item]).astype(np.float64)
        return context, item, self.logging[context, item], reward


def planted(contexts: int, items: int, rate: float = 0.1, greed: float = 1.0, seed: int = 0) -> Planted:
    """Rates around `rate`, of items and of items in contexts; the log's policy is ∝ rate^greed."""
    rng = np.random.default_rng(seed)
    logits = np.log(rate / (1 - rate)) + 0.7 * rng.standard_normal(items) + 0.5 * rng.standard_normal((contexts, items))
    rates = 1 / (1 + np.exp(-logits))
    return Planted(rng.dirichlet(np.full(contexts, 5.0)), rates, softmax(greed * np.log(rates), 1.0))


def softmax(scores: Floats, temperature: float) -> Floats:
    """π ∝ exp(s / T) over the last axis."""
    shifted = (scores - scores.max(-1, keepdims=True)) / temperature
    weights: Floats = np.exp(shifted)
    return weights / weights.sum(-1, keepdims=True)

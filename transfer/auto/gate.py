"""A gate for each reader between a method that sees a source and one that does not, by what is known of her.

w(u) = σ(b + a·z_u) is the share of the first: a and b are chosen on the readers of the other folds, by what nine shares
between the two gave each of them (`learning.gate` says what z_u is), and a fold's readers judge it.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from transfer.auto.decision import Candidate
from transfer.auto.ensemble import Fold
from transfer.learning.gate import TRAITS
from transfer.report.comparison.per_user import Array, column_of, linearised

STEPS = 8  # shares that are tried: 0, 1/8, ..., 1
PENALTY = 0.01  # of a² + b², in deviations of what is at stake between the two

Gate = tuple[Array, float]  # a [traits] and b


def gated(pool: list[Candidate], folds: list[Fold], metric: str, sign: int) -> Candidate | None:
    """The gate that all folds choose, with the values by reader of those that the other folds of each choose; None where
    every method sees a source, or none does."""
    first, second = (next((i for i, one in enumerate(pool) if one.uses_source is sees), None) for sees in (True, False))
    if first is None or second is None:
        return None
    known = [fold.traits for fold in folds]
    worth = [sign * _linear(metric, fold, _between(fold, len(pool), first, second)) for fold in folds]
    weight = [linearised(metric, np.ones(len(fold.readers.user)), fold.readers.events)[1] for fold in folds]

    def learnt(numbers: list[int]) -> Gate:
        parts = [np.concatenate([of[number] for number in numbers], axis=-1) for of in (worth, weight)]
        return fitted(np.concatenate([known[number] for number in numbers]), *parts)

    everywhere = list(range(len(folds)))
    nested = {}
    for number, fold in enumerate(folds):
        slopes, bias = learnt([other for other in everywhere if other != number])
        share = expit(bias + known[number] @ slopes)
        nested[fold.pair] = fold.readers._replace(
            values={column_of(metric): fold.gated(_shares(share, len(pool), first, second))}
        )
    slopes, bias = learnt(everywhere)
    members = pool[first], pool[second]
    said = ",".join(f'"{one.name}"' for one in members)
    numbers = {
        "weight_1": np.exp(bias),
        "weight_2": 1.0,
        **{f"gate_{name}": a for name, a in zip(TRAITS, slopes, strict=True)},
    }
    return Candidate(
        (
            "method=ensemble",
            f"method.members=[{said}]",
            "method.gate=true",
            *(f"hp.{key}={value:.5g}" for key, value in numbers.items()),
        ),
        [run for one in members for run in one.runs],
        members[0].file,
        called=f"gate of {members[0].name} and {members[1].name}",
        nested=nested,
    )


def fitted(traits: Array, values: Array, weight: Array) -> Gate:
    """a and b that maximise Σ_u weight_u v_u(σ(b + a·z_u)), v_u linear between values [shares, readers], higher is better,
    less a penalty; z is standardised while it is fitted. Without a gain from a gate a is 0, and b says the best share."""
    mean, spread = traits.mean(axis=0), traits.std(axis=0)
    z = (traits - mean) / np.where(spread > 1e-9, spread, np.inf)
    shares = np.linspace(0, 1, len(values))
    stake = float(np.sqrt(weight @ np.square(values[-1] - values[0]) / weight.sum())) or 1.0
    rows = np.arange(len(z))

    def loss(at: Array) -> tuple[float, Array]:
        share = expit(at[0] + z @ at[1:])
        place = np.minimum((share * (len(values) - 1)).astype(int), len(values) - 2)
        slope = (values[place + 1, rows] - values[place, rows]) * (len(values) - 1)
        value = values[place, rows] + slope * (share - shares[place])
        by_reader = weight * slope * share * (1 - share) / stake
        gradient = np.append(by_reader.sum(), z.T @ by_reader)
        return float(PENALTY * at @ at - weight @ value / stake), 2 * PENALTY * at - gradient

    best = float(np.clip(shares[np.argmax(values @ weight)], 0.02, 0.98))
    starts = [np.append(bias, np.zeros(z.shape[1])) for bias in (np.log(best / (1 - best)), 0.0)]
    found = min((minimize(loss, start, jac=True, method="L-BFGS-B") for start in starts), key=lambda one: one.fun).x
    slopes = np.where(spread > 1e-9, found[1:] / np.where(spread > 1e-9, spread, 1.0), 0.0)
    return slopes, float(found[0] - mean @ slopes)


def _between(fold: Fold, size: int, first: int, second: int) -> list[Array]:
    """The values of each reader at every share of the first."""
    every = np.linspace(0, 1, STEPS + 1)
    return [fold.gated(_shares(np.full(len(fold.readers.user), share), size, first, second)) for share in every]


def _shares(share: Array, size: int, first: int, second: int) -> Array:
    """Shares [readers, members] of which the first has `share` [readers] and the second the rest."""
    rows = np.zeros((len(share), size))
    rows[:, first], rows[:, second] = share, 1 - share
    return rows


def _linear(metric: str, fold: Fold, values: list[Array]) -> Array:
    return np.stack([linearised(metric, of, fold.readers.events)[0] for of in values])

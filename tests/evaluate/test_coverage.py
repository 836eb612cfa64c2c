"""How often intervals miss and tests cry wolf, simulated in five designs: the table in the docstring of `paired`.

`python tests/evaluate/test_coverage.py` prints it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from transfer.evaluate import significance
from transfer.evaluate.significance import Units

USERS = 250


class Design(NamedTuple):
    """Splits and seeds of a sweep; `returning`: the same people are tested in every split; variances of splits and of
    seeds, in parts of what the mean over one split's users has; `pairs`: pairs of domains instead."""

    splits: int
    seeds: int
    returning: bool
    of_splits: tuple[float, ...]
    of_seeds: tuple[float, ...] = (0.0,)
    pairs: bool = False


DESIGNS = {
    "1 split, 3 seeds": Design(1, 3, False, (0.0,), (0.0, 1.0, 4.0)),
    "3 splits, 1 seed": Design(3, 1, False, (0.0, 0.5, 1.0, 4.0), (0.0, 1.0)),
    "3 splits, 3 seeds": Design(3, 3, False, (0.0, 0.5, 1.0, 4.0), (0.0, 1.0)),
    "5 splits, closed form, same people": Design(5, 1, True, (0.0, 0.5, 1.0, 4.0)),
    "pairs of domains (4 and 12)": Design(4, 1, False, (1.0,), pairs=True),
}


def misses(design: Design, draws: int, seed: int = 0) -> tuple[float, float]:
    """The least and largest shares of draws whose interval leaves out the truth, 0, over the variances of a design."""
    random, shares = np.random.default_rng(seed), []
    if design.pairs:
        for pairs in (4, 12):
            found = [significance.summary(random.normal(0, 1, pairs)) for _ in range(draws)]
            shares.append(np.mean([of.low > 0 or of.high < 0 for of in found]))
        return float(min(shares)), float(max(shares))
    split = np.repeat(np.arange(design.splits), USERS)
    user = np.tile(np.arange(USERS), design.splits) if design.returning else np.arange(len(split))
    units = Units(split, user, np.full(len(split), 1 / USERS))
    own = np.sqrt(0.5 if design.returning else 1.0)  # where people return, half of what they differ by is their own
    for of_splits in design.of_splits:
        for of_seeds in design.of_seeds:
            wrong = 0
            for _ in range(draws):
                drift = random.normal(0, np.sqrt(of_splits / USERS), design.splits)
                seeds = random.normal(0, np.sqrt(of_seeds / USERS), (design.splits, design.seeds))
                people = random.normal(0, np.sqrt(1 - own**2), USERS)[user] if design.returning else 0.0
                d = random.normal(0, own, len(split)) + people + (drift + seeds.mean(axis=1))[split]
                by_seed = d.mean() + seeds[0] - seeds[0].mean() if design.splits == 1 else None
                of = significance.paired(d, units, by_seed)
                wrong += of.low > 0 or of.high < 0
            shares.append(wrong / draws)
    return float(min(shares)), float(max(shares))


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_intervals_miss_in_six_per_cent_at_most(name: str) -> None:
    """Six per cent, and what 4,000 draws can be off by (three standard errors: one per cent)."""
    assert misses(DESIGNS[name], 4000)[1] <= 0.07


def test_splits_that_look_alike_by_chance_do_not_make_a_narrow_interval() -> None:
    """With the plain Satterthwaite degrees of freedom this is 7 to 8 per cent."""
    assert misses(Design(3, 1, False, (1.0, 4.0)), 800, seed=5)[1] < 0.065


if __name__ == "__main__":
    for name, design in DESIGNS.items():
        low, high = misses(design, 4000)
        print(f"{name:<36} {100 * low:4.1f} to {100 * high:4.1f} %")

"""The values of policies in business terms: what each would have brought for 1,000 impressions, and what has to hold."""

from __future__ import annotations

import polars as pl

from transfer.results.amounts import instead

IMPRESSIONS = 1000
TOLD = "dr"  # the estimator that is right where either the propensities or the model of rewards are
WHAT = {"click": "clicks", "purchase": "purchases", "revenue": "in revenue", "feedback": "likes"}
AS_LOGGED = "the propensities are the chances with which items were shown"
BY_FREQUENCY = "how often an item was shown at a position is its chance, whoever the reader was"


def sentences(values: pl.DataFrame, against: str, reward: str, propensities: str) -> list[str]:
    """A sentence for each policy, from its value and its difference to the other, and one on what is taken for granted.

    values: the table of `LogReport`.
    """
    said = []
    for row in values.filter(estimator=TOLD).iter_rows(named=True):
        ours, gap, low, high = (
            IMPRESSIONS * row[name] for name in ("value", "difference", "difference_low", "difference_high")
        )
        what = f"{WHAT[reward]} per {IMPRESSIONS:,} impressions"
        said.append(f"{row['policy']} against {against}: {instead(ours, ours - gap, gap, low, high, what)}")
    chances = AS_LOGGED if propensities == "log" else BY_FREQUENCY
    said.append(
        f"That is by the estimator {TOLD}, and takes for granted that {chances}, that readers and items to come are like "
        "those of the log, and that what one reader is shown changes nothing for another."
    )
    return said

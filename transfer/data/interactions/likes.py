"""What counts as liked, and ratings of several domains on one scale."""

from __future__ import annotations

import polars as pl

from transfer.data.interactions.domain import Domain
from transfer.errors import TransferError


def liked(events: pl.DataFrame, domain: Domain) -> pl.DataFrame:
    """The events at or above the domain's `positive` rating; all of them where it or the ratings are unknown."""
    if domain.positive is None or events.is_empty() or events["rating"].null_count():
        return events
    return events.filter(pl.col("rating") >= domain.positive)


def prepared(part: pl.DataFrame, domain: Domain, positives: bool, scale: tuple[float, float] | None) -> pl.DataFrame:
    """Keep the positives (rating 1 each), or bring the ratings to the target's scale where both are declared."""
    if positives:
        return liked(part, domain).with_columns(rating=pl.lit(1.0, dtype=pl.Float32))
    rated = part["rating"].null_count() == 0 and len(part) > 0
    if not rated and len(part):
        raise TransferError(f"task=rating needs ratings, and {domain.name} has events without one; use task=ranking")
    if domain.scale is None or scale is None or domain.scale == scale:
        return part
    low, high = domain.scale
    ratio = (scale[1] - scale[0]) / (high - low)
    return part.with_columns(rating=((pl.col("rating") - low) * ratio + scale[0]).cast(pl.Float32))

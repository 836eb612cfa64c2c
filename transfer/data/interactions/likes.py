"""What counts as liked, and ratings of several domains on one scale."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from transfer.data.interactions.domain import Domain
from transfer.errors import TransferError


def with_likes(domain: Domain) -> Domain:
    """The domain of what is liked; the other events, which are known and not learnt from, stand beside it."""
    liked, others = divided(domain.events, domain)
    return replace(domain, events=liked, others=others)


def with_ratings(domain: Domain) -> Domain:
    """The domain of what is rated, where some of it is: an event without a rating says nothing of one."""
    rated = domain.events.filter(pl.col("rating").is_not_null())
    return replace(domain, events=rated) if len(rated) else domain


def divided(events: pl.DataFrame, domain: Domain) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events at or above the domain's `positive` rating and the rest, which has those without a rating; all are liked
    where it or all ratings are unknown."""
    if domain.positive is None or not (_has_ratings(events) or _has_ratings(domain.events)):
        return events, events.clear()
    liked = (pl.col("rating") >= domain.positive).fill_null(False)
    return events.filter(liked), events.filter(~liked)


def _has_ratings(events: pl.DataFrame) -> bool:
    return events["rating"].null_count() < len(events)


def rated_in(domain: Domain) -> pl.DataFrame:
    """All events of a domain, liked or not."""
    return domain.events if domain.others is None else pl.concat([domain.events, domain.others])


def counted(domain: Domain) -> str:
    """What counts as liked, in words."""
    if not _has_ratings(rated_in(domain)) and len(domain.events):
        return "every event (there are no ratings)"
    if domain.positive is None and domain.events["rating"].null_count():
        return "every event, rated or not"
    return "every rating, whatever it says" if domain.positive is None else f"ratings of {domain.positive:g} or more"


def prepared(part: pl.DataFrame, domain: Domain, positives: bool, scale: tuple[float, float] | None) -> pl.DataFrame:
    """A rating of 1 for what is liked, or the ratings on the target's scale where both are declared."""
    if positives:
        return part.with_columns(rating=pl.lit(1.0, dtype=pl.Float32))
    rated = part["rating"].null_count() == 0 and len(part) > 0
    if not rated and len(part):
        raise TransferError(f"task=rating needs ratings, and {domain.name} has events without one; use task=ranking")
    if domain.scale is None or scale is None or domain.scale == scale:
        return part
    low, high = domain.scale
    ratio = (scale[1] - scale[0]) / (high - low)
    return part.with_columns(rating=((pl.col("rating") - low) * ratio + scale[0]).cast(pl.Float32))

"""Feedback that is hidden with the likes: who disliked what, known neither to training nor to the part that is scored."""

from __future__ import annotations

import polars as pl

from transfer.data.interactions.domain import Domain
from transfer.data.interactions.parts import Parts


def disliked_up_to(domain: Domain) -> float | None:
    """The rating up to which an event counts as disliked: as said, else what is liked mirrored on the scale, so 2 of 1 … 5
    where 4 is liked; None where nothing says what is liked."""
    if domain.disliked is not None or domain.positive is None or domain.scale is None:
        return domain.disliked
    low, high = domain.scale
    return low + high - domain.positive


def hidden_dislikes(target: Domain, parts: Parts) -> dict[str, pl.DataFrame]:
    """The dislikes of the users of the validation and the test part that are not known before it; nothing where no event
    of the target can say so, or where the split leaves none of them hidden (it takes all that is not liked as known)."""
    most = disliked_up_to(target)
    if target.others is None or most is None:
        return {}
    known = pl.concat([part for part in (parts.rated, parts.rated_valid) if part is not None] or [target.others.clear()])
    unknown = target.others.join(known, on=["user", "item"], how="anti")
    between = unknown if parts.rated_valid is None else parts.rated_valid
    hidden = {"valid": _of(parts.valid, between, most, parts), "test": _of(parts.test, unknown, most, parts)}
    return hidden if any(len(part) for part in hidden.values()) else {}


def _of(part: pl.DataFrame, events: pl.DataFrame, most: float, parts: Parts) -> pl.DataFrame:
    asked = (pl.col("rating") <= most).fill_null(False) & pl.col("user").is_in(part["user"].unique().implode())
    if parts.new_items:
        asked &= pl.col("item").is_in(part["item"].unique().implode())
    return events.filter(asked)

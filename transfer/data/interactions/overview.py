"""What a domain as read has in it, and what two have in common: numbers for people who look at their files."""

from __future__ import annotations

from typing import NamedTuple

from transfer.data.interactions.domain import Domain
from transfer.data.interactions.identity import NUMBER

PAIR = ["user", "item"]


class Overview(NamedTuple):
    """Counts of events, users and items; events of a user: least, median, most; `repeated`: events beyond the first of a
    (user, item) pair; `ratings`: lowest, highest and how many values, `unrated`: events without one; `times`: first and
    last, in seconds since 1970. None where the file has no such column."""

    events: int
    users: int
    items: int
    each: tuple[int, float, int]
    repeated: int
    ratings: tuple[float, float, int] | None
    unrated: int
    times: tuple[float, float] | None


class Shared(NamedTuple):
    """What is in both: users, items and (user, item) pairs; `numbered`: all users of both are small whole numbers."""

    users: int
    items: int
    pairs: int
    numbered: bool


def overview(domain: Domain) -> Overview:
    """The counts of a domain."""
    events = domain.events
    each = events.group_by("user").len()["len"]
    ratings, times = events["rating"].drop_nulls(), events["time"].drop_nulls()
    return Overview(
        len(events),
        len(each),
        events["item"].n_unique(),
        (int(each.min() or 0), float(each.median() or 0), int(each.max() or 0)),  # type: ignore[arg-type]
        len(events) - events.n_unique(PAIR),
        (float(ratings.min()), float(ratings.max()), ratings.n_unique()) if len(ratings) else None,  # type: ignore[arg-type]
        len(events) - len(ratings) if len(ratings) else 0,
        (float(times.min()), float(times.max())) if len(times) else None,  # type: ignore[arg-type]
    )


def shared(one: Domain, other: Domain) -> Shared:
    """What two domains have in common, by equal ids."""
    ids = {name: [domain.events[name].unique() for domain in (one, other)] for name in PAIR}
    pairs = one.events.select(PAIR).unique().join(other.events.select(PAIR).unique(), on=PAIR, how="semi").height
    users, items = (int(a.is_in(b.implode()).sum()) for a, b in ids.values())
    return Shared(users, items, pairs, all(bool(of.str.contains(NUMBER).all()) for of in ids["user"]))


def scale_of(found: Overview) -> tuple[tuple[float, float], float] | None:
    """A likely scale of ratings and the rating from which one is a like: three quarters up, 4 of 1-5; None without ratings
    that differ."""
    if found.ratings is None or found.ratings[0] == found.ratings[1]:
        return None
    low, high, _ = found.ratings
    step = 1 if low.is_integer() and high.is_integer() and high - low >= 2 else 0.5 if high - low >= 2 else 0
    threshold = low + 0.75 * (high - low)
    return (low, high), round(threshold / step) * step if step else high

"""Whether equal ids mean the same: pairs in two domains at once, people that are numbered, ids that differ in padding."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from transfer.config.domains import FileDomains
from transfer.errors import TransferError

PAIR = ["user", "item"]
NUMBER = r"^\d{1,7}$"  # 1 ... n: what data sets number their users with


class Ids(NamedTuple):
    """A domain's (user, item) pairs, and its users and items: `bare` without the zeros that numbers in them begin with,
    where these are looked at; `numbered`: all users are small whole numbers."""

    pairs: pl.DataFrame
    users: pl.Series
    items: pl.Series
    numbered: bool
    bare_users: pl.Series | None
    bare_items: pl.Series | None


def ids_of(events: pl.DataFrame, config: FileDomains) -> Ids:
    """The ids of events with columns user and item, no pair of them twice."""
    users, items = (events[name].unique().cast(pl.String) for name in PAIR)
    numbered = bool(users.str.contains(NUMBER).all())
    bare = _bare(users) if config.same_users else None, _bare(items) if config.global_ids else None
    return Ids(events.select(PAIR), users, items, numbered, *bare)


def compared(target: Ids, source: Ids, names: tuple[str, str], config: FileDomains) -> dict[str, int]:
    """Counts of what two domains have alike, as cleaned.

    equal_pairs: (user, item) in both; numbered_users: shared users where all ids are small whole numbers on both sides;
    padded_users, padded_items: ids that would be equal without leading zeros; shared_items: with global ids.
    Raises TransferError where more than `domain.same_pairs` of the smaller domain's pairs are in the other too.
    """
    equal = target.pairs.join(source.pairs, on=PAIR, how="semi").height
    smaller = min(len(target.pairs), len(source.pairs))
    if equal > config.same_pairs * smaller:
        raise TransferError(
            f"{equal:,} of {smaller:,} (user, item) pairs are in {names[0]} and in the source {names[1]}, which would give "
            "the test away; remove the copies, or write domain.global_ids=true domain.mirrored=drop; where equal ids are "
            "other people, domain.same_users=false; where they are other items, domain.same_pairs=1"
        )
    shared = _both(target.users, source.users)
    return {
        "equal_pairs": equal,
        "numbered_users": shared if target.numbered and source.numbered else 0,
        "padded_users": _padded(target.users, target.bare_users, source.users, source.bare_users),
        "padded_items": _padded(target.items, target.bare_items, source.items, source.bare_items),
        "shared_items": _both(target.items, source.items) if config.global_ids else 0,
    }


def _both(some: pl.Series, others: pl.Series) -> int:
    return int(some.is_in(others.implode()).sum())


def _bare(ids: pl.Series) -> pl.Series:
    return ids.str.replace_all(r"(^|\D)0+(\d)", "${1}${2}")


def _padded(some: pl.Series, bare: pl.Series | None, others: pl.Series, other_bare: pl.Series | None) -> int:
    """How many ids are in both only without the zeros that numbers in them begin with: u07 and u7."""
    if bare is None or other_bare is None:
        return 0
    return _both(bare.filter(~some.is_in(others.implode())), other_bare.filter(~others.is_in(some.implode())))

"""Whether equal ids mean the same: pairs in two domains at once, people that are numbered, ids that differ in padding."""

from __future__ import annotations

import polars as pl

from transfer.config.domains import FileDomains
from transfer.errors import TransferError

PAIR = ["user", "item"]
NUMBER = r"^\d{1,7}$"  # 1 ... n: what data sets number their users with


def compared(target: pl.DataFrame, source: pl.DataFrame, names: tuple[str, str], config: FileDomains) -> dict[str, int]:
    """Counts of what two domains have alike, as cleaned: events with columns user and item, no pair of them twice.

    equal_pairs: (user, item) in both; numbered_users: shared users where all ids are small whole numbers on both sides;
    padded_users, padded_items: ids that would be equal without leading zeros; shared_items: with global ids.
    Raises TransferError where more than `domain.same_pairs` of the smaller domain's pairs are in the other too.
    """
    pairs = [events.select(PAIR) for events in (target, source)]
    equal = pairs[0].join(pairs[1], on=PAIR, how="semi").height
    smaller = min(map(len, pairs))
    if equal > config.same_pairs * smaller:
        raise TransferError(
            f"{equal:,} of {smaller:,} (user, item) pairs are in {names[0]} and in the source {names[1]}, which would give "
            "the test away; remove the copies, or write domain.global_ids=true domain.mirrored=drop; where equal ids are "
            "other people, domain.same_users=false; where they are other items, domain.same_pairs=1"
        )
    users, items = ([events[name].unique().cast(pl.String) for events in pairs] for name in PAIR)
    shared = int(users[0].is_in(users[1].implode()).sum())
    numbered = all(ids.str.contains(NUMBER).all() for ids in users)
    return {
        "equal_pairs": equal,
        "numbered_users": shared if numbered else 0,
        "padded_users": _padded(*users) if config.same_users else 0,
        "padded_items": _padded(*items) if config.global_ids else 0,
        "shared_items": int(items[0].is_in(items[1].implode()).sum()) if config.global_ids else 0,
    }


def _padded(some: pl.Series, others: pl.Series) -> int:
    """How many ids are in both only without the zeros that numbers in them begin with: u07 and u7."""
    bare = [
        ids.filter(~ids.is_in(of.implode())).str.replace_all(r"(^|\D)0+(\d)", "${1}${2}")
        for ids, of in ((some, others), (others, some))
    ]
    return int(bare[0].is_in(bare[1].implode()).sum())

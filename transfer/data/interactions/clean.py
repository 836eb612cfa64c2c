"""The faults that are counted, not fatal: editions of one work, ids found in both domains, repeated pairs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import polars as pl

from transfer.config.domains import FileDomains
from transfer.data.interactions import near_duplicates
from transfer.data.interactions.domain import Domain
from transfer.errors import TransferError

PAIR = ["user", "item"]


def clean(
    target: Domain, sources: list[Domain], config: FileDomains
) -> tuple[Domain, list[Domain], dict[str, dict[str, int]]]:
    """Merge editions, drop from the sources what mirrors a target item, then settle repeated pairs.

    In this order, because two editions rated by one user become a repeated pair only when merged.

    Returns: target, sources, and per domain name the counts; in each of them
        rows_read = dropped_rows + repeated + repeated_by_merging + rows.
    Raises: TransferError for two domains of one name and for what `error` forbids, naming the first offender.
    """
    names = Counter(domain.name for domain in [target, *sources])
    if twice := [name for name, count in names.items() if count > 1]:
        raise TransferError(f"two domains are called {twice[0]!r}; give each its own `name` in the domain file")
    cleaned, counts = [], {}
    of_target = target.events["item"].unique().implode()
    for domain in [target, *sources]:
        found = near_duplicates.editions(domain.events, config.jaccard, config.common_raters)
        edition_of = found if config.near_duplicates == "merge" else {}
        unwanted, mirrored = _mirrored(target, of_target, domain, config) if domain is not target else (set(), {})
        kept = _drop(domain, unwanted, edition_of)
        repeated = kept.events.height - kept.events.n_unique(PAIR)
        merged = _merge(kept, edition_of) if edition_of else kept
        settled = _settle(merged, config.duplicates) if repeated or edition_of else merged
        cleaned.append(settled)
        counts[domain.name] = {
            **domain.notes,
            "rows_read": domain.events.height,
            "near_duplicates": len(found),
            "merged_items": len(edition_of),
            **mirrored,
            "dropped_items": domain.events["item"].n_unique() - kept.events["item"].n_unique(),
            "dropped_rows": domain.events.height - kept.events.height,
            "repeated": repeated,
            "repeated_by_merging": kept.events.height - settled.events.height - repeated,
            "rows": settled.events.height,
            "users": settled.events["user"].n_unique(),
            "items": settled.events["item"].n_unique(),
        }
    return cleaned[0], cleaned[1:], counts


def _mirrored(target: Domain, of_target: pl.Series, source: Domain, config: FileDomains) -> tuple[set[str], dict[str, int]]:
    """The source items to remove because the target has them too, and how many were found by which rule."""
    by_raters = near_duplicates.mirrors(target.events, source.events, config.jaccard, config.common_raters)
    items = source.events["item"].unique()
    by_id = set(items.filter(items.is_in(of_target)).cast(pl.String))
    counts = {"mirrored_by_raters": len(by_raters), "mirrored_ids": len(by_id)}
    if not config.global_ids:
        counts = {"mirrored_by_raters": len(by_raters), "coinciding_ids": len(by_id)}
        by_id = set()
    if by_id and config.mirrored == "error":
        remedy = "remove the copies, or set domain.mirrored to drop or keep"
        raise TransferError(f"{source.name}: item {min(by_id)} is in {target.name} too; {remedy}")
    unwanted = by_raters if config.near_duplicates == "merge" else set()
    return unwanted | by_id if config.mirrored == "drop" else unwanted, counts


def _drop(domain: Domain, unwanted: set[str], edition_of: dict[str, str]) -> Domain:
    """Remove items together with all their editions: what stays of the group would be the same product again."""
    groups = {edition_of.get(item, item) for item in unwanted}
    every = groups | {item for item, kept in edition_of.items() if kept in groups}
    stays = ~pl.col("item").is_in(sorted(every))
    return replace(domain, events=domain.events.filter(stays), items=domain.items.filter(stays))


def _merge(domain: Domain, edition_of: dict[str, str]) -> Domain:
    """Rename every edition to the item that stays; what the item table does not know of it comes from its editions."""
    events = domain.events.with_columns(pl.col("item").replace(edition_of))
    table = domain.items.with_columns(pl.col("item").replace(edition_of), edition=pl.col("item").is_in(sorted(edition_of)))
    known = pl.all().exclude("item", "edition").drop_nulls().first()
    # The row of the item that stays comes first, so that its own title wins; rows are otherwise left in their order.
    merged = table.sort("edition", maintain_order=True).group_by("item", maintain_order=True).agg(known)
    return replace(domain, events=events, items=merged)


def _settle(domain: Domain, how: str) -> Domain:
    """Leave one event per (user, item): the last in time (in the file where times do not tell), mean or max."""
    events = domain.events
    if how == "error":
        twice = events.filter(events.select(PAIR).is_duplicated())
        if not twice.is_empty():
            user, item = twice.select(PAIR).row(0)
            remedy = "remove the repeats, or set domain.duplicates to last, mean or max"
            raise TransferError(f"{domain.name}: user {user} has item {item} more than once; {remedy}")
    elif how == "last":
        ordered = events.with_row_index("row").sort("time", maintain_order=True)
        events = ordered.unique(PAIR, keep="last", maintain_order=True).sort("row").drop("row")
    else:
        rating = pl.col("rating").cast(pl.Float64)
        rating = rating.mean() if how == "mean" else rating.max()
        latest = pl.col("time").max()
        events = events.group_by(PAIR, maintain_order=True).agg(rating.cast(pl.Float32), latest)
    return replace(domain, events=events)

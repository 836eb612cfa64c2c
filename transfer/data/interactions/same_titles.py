"""The same works in domains that number them otherwise: items whose titles have the same words."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from transfer.data.interactions.domain import Domain
from transfer.data.interactions.titles import key_of
from transfer.errors import TransferError

OWN = "id in its file"  # the column of the item table with what an item was called before


def with_common_ids(target: Domain, sources: list[Domain]) -> list[Domain]:
    """The sources, in which items are called as the target's of the same title, and else after their domain.

    Of several target items with one title the one with most events is meant. Raises TransferError where no title is shared.
    """
    first = target.events["item"].value_counts().join(_titled(target), on="item")
    first = first.sort(["count", "item"], descending=[True, False]).unique("key", keep="first", maintain_order=True)
    common = dict(first.select("key", "item").iter_rows())
    return [_called(source, _names(source, common)) for source in sources]


def _names(source: Domain, common: dict[str, str]) -> dict[str, str]:
    keys = dict(_titled(source).iter_rows())
    found = {item: common.get(keys.get(item, "")) for item in source.events["item"].unique()}
    if not any(found.values()):
        raise TransferError(
            f"{source.name}: no title is one of the target's; correct `title`, or write domain.same_titles=false"
        )
    items = pl.concat([source.events["item"], source.items["item"]]).unique()
    return {item: common.get(keys.get(item, ""), f"{source.name}/{item}") for item in items}


def _titled(domain: Domain) -> pl.DataFrame:
    """Items with a title, and its key."""
    keys = pl.Series("key", [key_of(title) for title in domain.items["title"]], pl.String)
    return domain.items.select("item", keys).drop_nulls("key")


def _called(domain: Domain, names: dict[str, str]) -> Domain:
    """The domain whose items have these names; what is called alike is one item, of which the table says the first."""
    item = pl.col("item")
    listed = domain.items.with_columns(item.replace(names), item.alias(OWN))
    listed = listed.unique("item", keep="first", maintain_order=True)
    return replace(domain, events=domain.events.with_columns(item.replace(names)), items=listed)

"""From domains and parts of events to a world: filter, index, arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from transfer.data.interactions.candidates import listed
from transfer.data.interactions.domain import Domain, places
from transfer.data.interactions.events import Catalogue, Coded, Heldout, Room, coded_events, heldout_of, interactions_of
from transfer.data.interactions.judged import hidden_dislikes
from transfer.data.interactions.likes import prepared, rated_in
from transfer.data.interactions.sequences import merged, sequences
from transfer.data.interactions.split import Parts
from transfer.data.interactions.summary import counted_in, summary_of
from transfer.data.interactions.world import Loaded, Side, World, fingerprint, names_hash
from transfer.errors import TransferError


def build_world(
    target: Domain,
    sources: list[Domain],
    parts: Parts,
    positives: bool,
    core: int,
    features: Callable[[list[Domain], list[pl.Series]], list[dict[str, np.ndarray]]] | None = None,
    timed: bool = False,
    capacity: int | None = None,
    shared_items: bool = False,
    folded: bool = False,
    catalogue: Callable[[Domain, pl.Series, dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None,
    candidates: tuple[str, pl.DataFrame] | None = None,
) -> Loaded:
    """Filter and index the parts; filters and vocabularies come from training events only.

    positives forgets the ratings of what is liked; core is the smallest number of training events that a user and an item
    of a domain must keep, and who loses all of them is out of the hidden parts too; timed adds sequences. Where people
    come after training, so may items of the target: all are candidates. With a capacity every array of events has that
    length, and all users and items that the domains have are in the world, whether they have training events or not: its
    shapes then do not depend on who chose what. shared_items: equal ids of items in two domains are the same product.
    features: blocks of vectors of the items of every domain, the target first. folded: users and items are those of all
    that is not test, the same in every fold (`folds.alike`).
    catalogue: what the target's lists are measured by, from the domain, its items and their blocks. candidates:
    user, item of whom may be shown what, and the file that says so.
    """
    every = [
        prepared(part, domain, positives, target.scale)
        for part, domain in zip(
            [parts.train, parts.valid, parts.test, *parts.sources, *parts.histories],
            [target, target, target, *sources, *([target, *sources] if parts.histories else [])],
            strict=True,
        )
    ]
    train, valid, test = every[:3]
    visible, known_later = every[3 : 3 + len(sources)], every[3 + len(sources) :]
    counts: dict[str, Any] = {"events_before_filters": len(train) + len(valid) + len(test)}
    began = train["user"].unique()
    learnable = pl.concat([part.select("user", "item") for part in (train, valid)]) if folded else train
    kept, *visible = [_core(events, core) for events in [learnable, *visible]]
    counts["events_lost_to_core"] = len(learnable) - len(kept)
    train = train.join(kept, on=["user", "item"], how="semi", maintain_order="left") if folded else kept
    if not capacity:
        with_events = _with_events(sources, visible)
        counts["sources_without_events"] = [s.name for i, s in enumerate(sources) if i not in with_events]
        sources, visible = [sources[i] for i in with_events], [visible[i] for i in with_events]
        known_later = [known_later[i] for i in (0, *(i + 1 for i in with_events))] if known_later else []
    if train.is_empty():
        raise TransferError(f"no training events of {target.name} are left after the filters; lower domain.core={core}")

    scale = target.scale or (float(train["rating"].min()), float(train["rating"].max()))  # type: ignore[arg-type]
    asked = [valid, test] if parts.newcomers == "all" else []
    users = pl.concat([events["user"] for events in [kept, *visible, *known_later, *asked]]).unique().sort()
    items = [events["item"].unique().sort() for events in [kept, *visible]]
    if capacity:
        users = pl.concat([rated_in(d)["user"] for d in [target, *sources]]).unique().sort()
        items = [d.items["item"].unique().sort() for d in [target, *sources]]
    elif known_later:
        items[0] = rated_in(target)["item"].unique().sort()
    elif parts.new_items:
        items[0] = pl.concat([items[0], valid["item"], test["item"]]).unique().sort()
    trained = train["user"].unique()
    fallen = began.filter(~began.is_in(trained.implode()))
    may_ask = trained if parts.newcomers == "none" else users.filter(~users.is_in(fallen.implode()))
    of_items = train["item"].unique() if folded and not parts.new_items else items[0]
    # whom a fold alone would know: with folds others are in the world by what the fold hides of them
    seen_users = pl.concat([events["user"] for events in [train, *visible, *known_later, *asked]]) if folded else users
    known = pl.col("user").is_in(seen_users.unique().implode()) & pl.col("item").is_in(of_items.implode())
    hidden = {
        name: part.filter(known & pl.col("user").is_in(may_ask.implode()))
        for name, part in (("valid", valid), ("test", test))
    }
    counts["hidden_events_of_unknown_users_or_items"] = len(valid) + len(test) - sum(map(len, hidden.values()))
    if hidden["test"].is_empty():
        raise TransferError(f"no test event of {target.name} has a user and an item known from training; use another split")

    room = Room(capacity, len(users)) if capacity else None
    sides = [_side(*own, users, room) for own in zip([train, *visible], items, strict=True)]
    if shared_items:
        sides[1:] = [
            replace(side, target_items=_places(ids, items[0])) for side, ids in zip(sides[1:], items[1:], strict=True)
        ]
    if features:
        blocks: Any = features([target, *sources], items)
        sides = [replace(side, features=own) for side, own in zip(sides, blocks, strict=True)]
    if timed:
        ordered_by = [train, *(events.filter(~pl.col("stop")) for events in visible)]
        ordered = [sequences(events, users, ids) for events, ids in zip(ordered_by, items, strict=True)]
        sides = [replace(side, sequence=sequence) for side, sequence in zip(sides, ordered, strict=True)]
    index = {"users": users, "items": items[0]}
    coded = {name: coded_events(part, **index) for name, part in hidden.items()}
    learnt_from = coded_events(train, **index)
    whole = [_joined(*both) for both in zip([train, *visible], known_later, items, strict=True)] if known_later else []
    seen = coded_events(whole[0], **index) if whole else learnt_from
    others = [
        part.filter(known) for part in (parts.rated, parts.rated_valid) if part is not None and (len(part) or capacity)
    ]
    rated = [coded_events(part, **index) for part in others]
    of_lists: dict[str, np.ndarray] = catalogue(target, items[0], sides[0].features) if catalogue else {}  # type: ignore[arg-type]
    shelf = Catalogue(np.int32(len(trained)), **of_lists)  # type: ignore[arg-type]
    dislikes = hidden_dislikes(target, parts) if positives else {}
    dislikes = {name: part.filter(known) for name, part in dislikes.items()}

    lists = listed(*candidates, hidden, target.items["item"], users, items[0], room) if candidates else {}

    def part_of(name: str, seen: list[Coded], rated: list[Coded]) -> Heldout:
        disliked = coded_events(dislikes[name], **index) if dislikes else None
        asked = _candidates(coded[name], len(items[0])) if parts.new_items else None
        more = (asked, rated, disliked, shelf, lists.get(name))
        return heldout_of(coded[name], seen, learnt_from, len(items[0]), room, *more)

    host = World(
        target=sides[0],
        sources=tuple(sides[1:]),
        valid=part_of("valid", [seen], rated[:1]),
        test=part_of("test", [seen, coded["valid"]], rated),
        scale=scale,
        merged=merged([train, *visible], users, items) if timed else None,
        rated=interactions_of(coded_events(pl.concat(others), **index), len(users), len(items[0]), room)
        if others
        else None,
    )
    if whole:
        host = replace(host, inference=_with_histories(host, whole, users, items))
    summary = summary_of(target, sources, train, visible, hidden, users, counts)
    for domain, side in zip([summary["target"], *summary["sources"]], sides, strict=True):
        domain["features"] = {name: _told(rows) for name, rows in side.features.items()}
    for own, domain in zip([summary["target"], *summary["sources"]], [target, *sources], strict=True):
        own |= _ratings(domain, positives)
    titles = [
        {i: t for i, t in d.items.select(pl.col("item").cast(pl.String), "title").iter_rows() if t}
        for d in [target, *sources]
    ]
    ids = [own.to_list() for own in items]
    summary["names"] = names_hash([users.to_list(), *ids], titles)
    summary["target"] |= counted_in(of_lists, dislikes)
    return Loaded(
        _with_bridges(host, room), users.to_list(), ids[0], titles[0], ids[1:], titles[1:], summary, fingerprint(host)
    )


def _with_events(sources: list[Domain], visible: list[pl.DataFrame]) -> list[int]:
    """The places of the sources that have events to learn from. Raises TransferError where none of them has."""
    found = [i for i, events in enumerate(visible) if len(events)]
    if sources and not found:
        names = ", ".join(source.name for source in sources)
        raise TransferError(
            f"no events of {names} are left to learn from; lower `positive` or domain.core, or another split"
        )
    return found


def _candidates(hidden: dict[str, np.ndarray], n_items: int) -> np.ndarray:
    """The items that a hidden part asks for, bool [items]."""
    return np.isin(np.arange(n_items), hidden["item"])


def _with_bridges(world: World, room: Room | None) -> World:
    """The world with its users of the target and of a source; with a room as many places as users. No hash tells them:
    they are derived."""
    known = [np.diff(side.train.starts) > 0 for side in (world.target, *world.sources)]
    users = np.flatnonzero(known[0] & np.any([*known[1:], np.zeros_like(known[0])], axis=0))
    places: Any = np.full(world.n_users if room else max(len(users), 1), world.n_users, np.int32)
    places[: len(users)] = users
    later = world.inference and replace(world.inference, bridges=places)
    return replace(world, bridges=places, inference=later)


def _places(ids: pl.Series, of_target: pl.Series) -> Any:
    """Where the items of a source stand among the target's, int32 [items], -1 for none; None where none is shared."""
    shared = ids.is_in(of_target.implode()).to_numpy()
    return np.where(shared, places(ids, of_target), -1) if shared.any() else None


def _ratings(domain: Domain, positives: bool) -> dict[str, Any]:
    """From which rating an event is liked, where ratings say so; or that ratings are learnt from."""
    if not positives:
        return {"rated": True}
    told = domain.positive is not None and not domain.events["rating"].null_count()
    return {"positive": domain.positive} if told else {}


def _told(rows: Any) -> dict[str, int]:
    """How many items have a block, of how many, and how wide it is."""
    return {"items": int(np.any(rows != 0, axis=1).sum()), "of": len(rows), "width": rows.shape[1]}


def _joined(trained: pl.DataFrame, later: pl.DataFrame, items: pl.Series) -> pl.DataFrame:
    """Training events and the later histories of known items, each once: some of a history may lie before the cut."""
    columns = ["user", "item", "rating", "time"]
    later = later.filter(pl.col("item").is_in(items.implode()))
    both = pl.concat([trained.select(columns), later.select(columns)])
    return both.unique(["user", "item"], keep="first", maintain_order=True)


def _with_histories(world: World, whole: list[pl.DataFrame], users: pl.Series, items: list[pl.Series]) -> World:
    """The world in which people have these events; how often an item was chosen in training stays as it was."""
    target, *sources = (
        replace(
            side,
            train=replace(
                interactions_of(coded_events(events, users, ids), len(users), len(ids)), item_counts=side.train.item_counts
            ),
        )
        for side, events, ids in zip([world.target, *world.sources], whole, items, strict=True)
    )
    if world.merged is not None:
        target = replace(target, sequence=sequences(whole[0], users, items[0]))
        world = replace(world, merged=merged(whole, users, items))
    return replace(world, target=target, sources=tuple(sources))


def _core(events: pl.DataFrame, core: int) -> pl.DataFrame:
    """The largest part in which every user and every item has at least `core` events."""
    while core > 1:
        kept = events.filter((pl.len().over("user") >= core) & (pl.len().over("item") >= core))
        if len(kept) == len(events):
            break
        events = kept
    return events


def _side(events: pl.DataFrame, items: pl.Series, users: pl.Series, room: Room | None) -> Side:
    size: Any = {"n_users": len(users), "n_items": len(items), "room": room}
    fit = coded_events(events.filter(~pl.col("stop")), users, items)
    stop = coded_events(events.filter(pl.col("stop")), users, items)
    return Side(
        train=interactions_of(coded_events(events, users, items), **size),
        fit=interactions_of(fit, **size),
        stop=heldout_of(stop, [fit], fit, len(items), room),
    )

"""The world: one target and its sources on one index space, split, as arrays that a compiled program takes as argument."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import polars as pl

from transfer.data.domain import Domain
from transfer.data.sequences import Sequences, merged, sequences
from transfer.data.split import Parts
from transfer.data.text import vectors
from transfer.errors import TransferError

# A chunk of users is scored at once; this bounds its score matrix (users x items) to 16 MiB of float32.
CHUNK_SCORES = 2**22


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Interactions:
    """Events of one domain sorted by (user, item): users, items int32 [n], ratings float32 [n], starts int32 [users + 1].

    The events of user u stand at starts[u]:starts[u + 1]; `item_counts` float32 [items] counts those of each item, and
    `longest` bounds the number of events of any user.
    """

    users: jax.Array
    items: jax.Array
    ratings: jax.Array
    starts: jax.Array
    item_counts: jax.Array
    n_users: int = field(metadata={"static": True})
    n_items: int = field(metadata={"static": True})
    longest: int = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Heldout:
    """Hidden events in chunks of users: users [C, B]; hidden row, item, rating [C, E]; seen row, item [C, S].

    A row is the user's position in its chunk; B marks padding. `popularity` [items] counts the training events.
    """

    users: jax.Array
    row: jax.Array
    item: jax.Array
    rating: jax.Array
    seen_row: jax.Array
    seen_item: jax.Array
    popularity: jax.Array
    n_users: int = field(metadata={"static": True})
    n_events: int = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Side:
    """One domain: `train` is all that is visible; `fit` and `stop` divide it for stages that learn this domain alone.

    `text` float32 [items, domain.text_dim] holds vectors of the items' texts, in one space for all domains. `sequence` has
    the events in the order of time, where the split is one in time: those of `train`, of a source those of `fit`.
    """

    train: Interactions
    fit: Interactions
    stop: Heldout
    text: jax.Array | None = None
    sequence: Sequences | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class World:
    """One target, its sources, the hidden parts of the target; ratings of all domains are on the target's scale.

    `merged` has the events of all domains in the order of time, the target's items first, where the split is one in time.
    `begun` holds the parameters of another run that stages start from, where one is named.
    """

    target: Side
    sources: tuple[Side, ...]
    valid: Heldout
    test: Heldout
    scale: tuple[float, float] = field(metadata={"static": True})
    merged: Sequences | None = None
    begun: Any = None

    @property
    def n_users(self) -> int:
        return self.target.train.n_users

    @property
    def n_items(self) -> int:
        return self.target.train.n_items


def tested_users(world: World) -> dict[str, np.ndarray]:
    """Who the rows of a test are: user, history (training events in the target), events (hidden ones), int32 [users]."""
    part, starts = world.test, np.asarray(world.target.train.starts)
    width = part.users.shape[1]
    users = np.asarray(part.users).reshape(-1)[: part.n_users]
    row = np.asarray(part.row)
    place = (np.arange(len(row))[:, None] * width + row)[row < width]
    events = np.bincount(place, minlength=part.n_users)
    columns = {"user": users, "history": starts[users + 1] - starts[users], "events": events}
    return {name: column.astype(np.int32) for name, column in columns.items()}


@dataclass(frozen=True)
class Loaded:
    """A world with what people need to read it: ids by index, titles by id, counts, and the fingerprint of its data."""

    world: World
    users: list[str]
    items: list[str]
    titles: dict[str, str]
    source_items: list[list[str]]
    source_titles: list[dict[str, str]]
    summary: dict[str, Any]
    fingerprint: str


def build_world(
    target: Domain,
    sources: list[Domain],
    parts: Parts,
    positives: bool,
    core: int,
    text_dim: int = 0,
    timed: bool = False,
) -> Loaded:
    """Filter and index the parts; filters, vocabularies and vectors of texts come from training events only.

    positives keeps the events at or above each domain's `positive` threshold and forgets their ratings; core is the
    smallest number of training events that a user and an item of a domain must keep; timed adds sequences.
    """
    prepared = [
        _prepare(part, domain, positives, target.scale)
        for part, domain in zip(
            [parts.train, parts.valid, parts.test, *parts.sources], [target, target, target, *sources], strict=True
        )
    ]
    train, valid, test, visible = prepared[0], prepared[1], prepared[2], prepared[3:]
    counts: dict[str, Any] = {"events_before_filters": len(train) + len(valid) + len(test)}
    filtered = [_core(events, core) for events in [train, *visible]]
    counts["events_lost_to_core"] = len(train) - len(filtered[0])
    train, visible = filtered[0], filtered[1:]
    if train.is_empty():
        raise TransferError(f"no training events of {target.name} are left after the filters; lower domain.core={core}")

    scale = target.scale or (float(train["rating"].min()), float(train["rating"].max()))  # type: ignore[arg-type]
    users = pl.concat([events["user"] for events in [train, *visible]]).unique().sort()
    items = [events["item"].unique().sort() for events in [train, *visible]]
    known = pl.col("user").is_in(users.implode()) & pl.col("item").is_in(items[0].implode())
    hidden = {"valid": valid.filter(known), "test": test.filter(known)}
    counts["hidden_events_of_unknown_users_or_items"] = len(valid) + len(test) - sum(map(len, hidden.values()))
    if hidden["test"].is_empty():
        raise TransferError(f"no test event of {target.name} has a user and an item known from training; use another split")

    sides = [_side(events, users, ids) for events, ids in zip([train, *visible], items, strict=True)]
    if text_dim:
        told = [
            ids.to_frame("item").join(d.items, on="item", how="left")
            for d, ids in zip([target, *sources], items, strict=True)
        ]
        texts: Any = vectors([table["text"].to_list() for table in told], text_dim)
        sides = [replace(side, text=text) for side, text in zip(sides, texts, strict=True)]
    if timed:
        told = [train, *(events.filter(~pl.col("stop")) for events in visible)]
        ordered = [sequences(events, users, ids) for events, ids in zip(told, items, strict=True)]
        sides = [replace(side, sequence=sequence) for side, sequence in zip(sides, ordered, strict=True)]
    index = {"users": users, "items": items[0]}
    coded = {name: _coded(part, **index) for name, part in hidden.items()}
    seen = _coded(train, **index)
    host = World(
        target=sides[0],
        sources=tuple(sides[1:]),
        valid=_heldout(coded["valid"], [seen], seen, len(items[0])),
        test=_heldout(coded["test"], [seen, coded["valid"]], seen, len(items[0])),
        scale=scale,
        merged=merged([train, *visible], users, items) if timed else None,
    )
    summary = _summary(target, sources, train, visible, hidden, users, counts)
    titles = [{i: t for i, t in d.items.select("item", "title").iter_rows() if t} for d in [target, *sources]]
    ids = [own.to_list() for own in items]
    arrays = jax.tree.map(jax.numpy.asarray, host)
    return Loaded(arrays, users.to_list(), ids[0], titles[0], ids[1:], titles[1:], summary, _fingerprint(host))


def liked(events: pl.DataFrame, domain: Domain) -> pl.DataFrame:
    """The events at or above the domain's `positive` rating; all of them where it or the ratings are unknown."""
    if domain.positive is None or events.is_empty() or events["rating"].null_count():
        return events
    return events.filter(pl.col("rating") >= domain.positive)


def _prepare(part: pl.DataFrame, domain: Domain, positives: bool, scale: tuple[float, float] | None) -> pl.DataFrame:
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


def _core(events: pl.DataFrame, core: int) -> pl.DataFrame:
    """The largest part in which every user and every item has at least `core` events."""
    while core > 1:
        kept = events.filter((pl.len().over("user") >= core) & (pl.len().over("item") >= core))
        if len(kept) == len(events):
            break
        events = kept
    return events


Coded = dict[str, np.ndarray]


def _coded(events: pl.DataFrame, users: pl.Series, items: pl.Series) -> Coded:
    """Events as index arrays, sorted by (user, item)."""
    user = users.search_sorted(events["user"]).to_numpy().astype(np.int32)
    item = items.search_sorted(events["item"]).to_numpy().astype(np.int32)
    order = np.lexsort((item, user))
    return {"user": user[order], "item": item[order], "rating": events["rating"].to_numpy()[order].astype(np.float32)}


def _side(events: pl.DataFrame, users: pl.Series, items: pl.Series) -> Side:
    size = {"n_users": len(users), "n_items": len(items)}
    fit = _coded(events.filter(~pl.col("stop")), users, items)
    stop = _coded(events.filter("stop"), users, items)
    return Side(
        train=_interactions(_coded(events, users, items), **size),
        fit=_interactions(fit, **size),
        stop=_heldout(stop, [fit], fit, len(items)),
    )


def _interactions(events: Coded, n_users: int, n_items: int) -> Interactions:
    starts = np.zeros(n_users + 1, np.int32)
    np.cumsum(np.bincount(events["user"], minlength=n_users), out=starts[1:])
    longest = 1 << int(np.diff(starts).max(initial=1) - 1).bit_length()  # a power of two, so that splits share programs
    arrays: dict[str, Any] = {"users": events["user"], "items": events["item"], "ratings": events["rating"]}
    arrays |= {"starts": starts, "item_counts": np.bincount(events["item"], minlength=n_items).astype(np.float32)}
    return Interactions(**arrays, n_users=n_users, n_items=n_items, longest=longest)


def _heldout(hidden: Coded, seen: list[Coded], train: Coded, n_items: int) -> Heldout:
    """Lay hidden events out in equal chunks of users; every chunk is padded to the longest."""
    users = np.unique(hidden["user"])
    chunks = max(1, min(len(users), -(-len(users) * n_items // CHUNK_SCORES)))
    width = max(1, -(-len(users) // chunks))
    padded = np.zeros(chunks * width, np.int32)
    padded[: len(users)] = users
    row, item, rating = _chunked(hidden, users, chunks, width)
    known = {key: np.concatenate([part[key] for part in seen]) for key in ("user", "item", "rating")}
    of_users = np.isin(known["user"], users)
    seen_row, seen_item, _ = _chunked({key: value[of_users] for key, value in known.items()}, users, chunks, width)
    popularity = np.bincount(train["item"], minlength=n_items).astype(np.float32)
    arrays: dict[str, Any] = {
        "users": padded.reshape(chunks, width),
        **{"row": row, "item": item, "rating": rating, "seen_row": seen_row, "seen_item": seen_item},
        "popularity": popularity,
    }
    return Heldout(**arrays, n_users=len(users), n_events=len(hidden["user"]))


def _chunked(events: Coded, users: np.ndarray, chunks: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position = np.searchsorted(users, events["user"])
    order = np.argsort(position, kind="stable")
    chunk, row = np.divmod(position[order], width)
    counts = np.bincount(chunk, minlength=chunks)
    slot = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (chunks, max(1, int(counts.max(initial=0))))
    rows, items, ratings = np.full(shape, width, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    rows[chunk, slot] = row
    items[chunk, slot] = events["item"][order]
    ratings[chunk, slot] = events["rating"][order]
    return rows, items, ratings


def _summary(
    target: Domain,
    sources: list[Domain],
    train: pl.DataFrame,
    visible: list[pl.DataFrame],
    hidden: dict[str, pl.DataFrame],
    users: pl.Series,
    counts: dict[str, Any],
) -> dict[str, Any]:
    """Counts of the world by domain and part, as JSON values."""

    def count(events: pl.DataFrame) -> dict[str, int]:
        return {"users": events["user"].n_unique(), "items": events["item"].n_unique(), "events": len(events)}

    in_sources = pl.concat([v["user"] for v in visible]).unique() if visible else pl.Series([], dtype=pl.String)
    shared = train["user"].unique().is_in(in_sources.implode()).sum() if visible else 0
    return {
        "target": {"name": target.name, "train": count(train), **{name: count(part) for name, part in hidden.items()}},
        "sources": [{"name": s.name, "train": count(v)} for s, v in zip(sources, visible, strict=True)],
        "users": len(users),
        "users_trained_in_both": int(shared),
        **counts,
    }


def _fingerprint(world: World) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(world):
        digest.update(str(leaf.shape).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]

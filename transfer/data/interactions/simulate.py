"""A planted world: books and movies whose users have tastes that correlate as much as asked. NumPy only.

    traits of user u:  t ~ N(0, I),  s = rho t + sqrt(1 - rho^2) e          (one taste per topic, generosity, activity)
    match(u, i)     =  taste_u . loadings_i
    u consumes i    :  Gumbel top-n of  -skew log rank_i + CHOICE match(u, i)
    block of item i :  c R loadings_i + sqrt(1 - c^2) e, c = domain.features.NAME, one random R for both domains
    rating(u, i)    =  round(MEAN + quality_i + GENEROSITY generosity_u + MATCH match(u, i) + noise N(0, 1)), in 1..5

Taste, generosity and activity share one correlation: at rho = 0 nothing known from the source helps in the target.
Every random thing has its own named stream: turning one control leaves the unrelated draws as they were, and the
target does not depend on rho at all, so worlds of different correlation ask the same question with more or less help.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transfer.config.domains import SimulatedDomains
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.errors import TransferError

Floats = NDArray[np.float32]

MEAN, QUALITY, GENEROSITY, MATCH = 3.2, 0.3, 0.3, 0.7  # of ratings, in stars
CHOICE = 1.5  # weight of taste against popularity in what is consumed
ACTIVITY = 0.5  # standard deviation of the logarithm of a user's number of events
SIDE_TOPICS = 0.2  # what an item loads on topics other than its own, before normalisation
ON_TOPIC, WORDS = 0.5, 24  # share of a text's words that come from its topic, length of a text
START, DAYS = 1_672_531_200, 730  # both domains run for two years from 2023-01-01 UTC

TOPICS = {
    "crime": "detective murder clue suspect alibi witness inspector poison",
    "romance": "love kiss wedding heart longing letter proposal summer",
    "space": "planet starship orbit alien galaxy android colony gravity",
    "fantasy": "dragon wizard sword kingdom spell elf prophecy castle",
    "war": "soldier trench battle general retreat siege bomber medal",
    "family": "mother brother childhood kitchen inheritance sister farm reunion",
    "horror": "ghost cellar scream curse vampire graveyard nightmare shadow",
    "comedy": "prank neighbour mishap wig banana party parrot misunderstanding",
}
FILLER = {
    "movies": "screen scene director camera actor sequel audience soundtrack",
    "books": "chapter page author narrator volume reader paperback prologue",
}


@dataclass(frozen=True)
class Truth:
    """What the target really is like, for simulated feedback, click-through and revenue; row u is user users[u].

    rating [users, items]: stars without noise and rounding, in 1..5; click [users, items]: probability of a click when
    shown; buy [users, items]: probability of a purchase after a click, so P(bought) = click * buy; price [items]: in
    the currency of `domain.price`. All float32.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    rating: Floats
    click: Floats
    buy: Floats
    price: Floats


@dataclass(frozen=True)
class Shelf:
    """The items of one domain: topic [items], loadings [items, topics], quality [items], log_popularity [items]."""

    table: pl.DataFrame
    topic: NDArray[np.int64]
    loadings: Floats
    quality: Floats
    log_popularity: Floats


def simulate(config: SimulatedDomains) -> tuple[Domain, list[Domain], Truth]:
    """The target domain (books), its sources (movies) and the truth about the target; the same for the same config."""
    for part, items, events in (
        ("source", config.source_items, config.source_events),
        ("target", config.target_items, config.target_events),
    ):
        if events > items:
            raise TransferError(
                f"domain.{part}_events={events:g}: users cannot have more events than there are items; "
                f"write domain.{part}_items={int(np.ceil(events))} or more"
            )
    target_traits, source_traits = traits(config)
    in_target, in_source = membership(config)
    books = _shelf(config, "books", "book", config.target_items)
    movies = _shelf(config, "movies", "movie", config.source_items)
    target = _domain(config, "books", books, target_traits, in_target, config.target_events)
    source = _domain(config, "movies", movies, source_traits, in_source, config.source_events)
    return target, [source], _truth(config, books, target_traits)


def traits(config: SimulatedDomains) -> tuple[Floats, Floats]:
    """Traits of all users in target and source, each [users, topics + 2]: tastes, then generosity, then activity."""
    shape = (config.users, config.topics + 2)
    rho = np.float32(config.correlation)
    target = _stream(config, "traits").standard_normal(shape, dtype=np.float32)
    own = _stream(config, "traits of the source").standard_normal(shape, dtype=np.float32)
    return target, rho * target + np.sqrt(1 - rho**2) * own


def membership(config: SimulatedDomains) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Who is a user of the target and of the source, each [users]; users of one domain only are split evenly."""
    place = _stream(config, "membership").permutation(config.users)
    both = round(config.shared * config.users)
    alone = place >= both
    in_target = ~alone | ((place - both) % 2 == 0)
    return in_target, ~alone | ~in_target


def _stream(config: SimulatedDomains, name: str) -> np.random.Generator:
    return np.random.default_rng([config.data_seed, crc32(name.encode())])


def _user_ids(count: int) -> NDArray[np.str_]:
    return np.array([f"u{index:05d}" for index in range(1, count + 1)])


def _shelf(config: SimulatedDomains, name: str, prefix: str, count: int) -> Shelf:
    topic = _stream(config, f"{name} topic").permutation(np.arange(count) % config.topics)
    side = _stream(config, f"{name} loadings").standard_normal((count, config.topics), dtype=np.float32)
    loadings = SIDE_TOPICS * side
    loadings[np.arange(count), topic] = 1.0
    loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
    rank = _stream(config, f"{name} popularity").permutation(count) + 1
    quality = QUALITY * _stream(config, f"{name} quality").standard_normal(count, dtype=np.float32)
    spread = config.price_spread * _stream(config, f"{name} price").standard_normal(count)
    genres = _genres(config.topics)
    titles, texts = _texts(config, name, topic, list(genres.values()))
    table = pl.DataFrame(
        {
            "item": [f"{prefix}{index:05d}" for index in range(1, count + 1)],
            "title": titles,
            "text": texts,
            "genres": [list(genres)[k] for k in topic],
            "price": np.maximum(np.round(config.price * np.exp(spread), 2), 0.01).astype(np.float32),
        }
        | {block: _planted(config, name, block, loadings) for block in config.features}
    )
    log_popularity = (-config.popularity_skew * np.log(rank)).astype(np.float32)
    return Shelf(table, topic, loadings, quality, log_popularity)


def _planted(config: SimulatedDomains, name: str, block: str, loadings: Floats) -> Floats:
    """Vectors of length about 1 that tell as much of the items as asked, [items, width]."""
    correlation, width = np.float32(config.features[block].correlation), config.features[block].dim
    space = _stream(config, f"features {block}").standard_normal((config.topics, width), dtype=np.float32)
    noise = _stream(config, f"{name} features {block}").standard_normal((len(loadings), width), dtype=np.float32)
    told, noise = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (loadings @ space, noise))
    return correlation * told + np.sqrt(1 - correlation**2) * noise


def _genres(count: int) -> dict[str, list[str]]:
    """Name and word list of every topic; invented ones after the built-in ones."""
    named = {name: words.split() for name, words in list(TOPICS.items())[:count]}
    invented = {f"genre{k}": [f"genre{k}word{i}" for i in range(8)] for k in range(len(named) + 1, count + 1)}
    return named | invented


def _texts(
    config: SimulatedDomains, name: str, topic: NDArray[np.int64], vocabulary: list[list[str]]
) -> tuple[list[str], list[str]]:
    """Titles and texts: words of the item's topic mixed with words of the domain, so that texts differ by domain."""
    rng = _stream(config, f"{name} text")
    own = np.array(vocabulary)[topic]  # [items, words of a topic]
    filler = np.array(FILLER[name].split())
    rows = np.arange(len(topic))[:, None]
    chosen = own[rows, rng.integers(own.shape[1], size=(len(topic), WORDS))]
    other = filler[rng.integers(len(filler), size=(len(topic), WORDS))]
    words = np.where(rng.random((len(topic), WORDS)) < ON_TOPIC, chosen, other)
    heads = own[rows, np.argsort(rng.random(own.shape), axis=1)[:, :2]]  # two different words
    titles = [f"The {first.title()} and the {second.title()}" for first, second in heads]
    return titles, [" ".join(row) for row in words]


def _domain(
    config: SimulatedDomains, name: str, shelf: Shelf, person: Floats, member: NDArray[np.bool_], events: float
) -> Domain:
    """Draw who consumes what, when, and how many stars it gets; `person` is [users, topics + 2]."""
    users, items = len(person), len(shelf.topic)
    # Drawn for everybody and masked afterwards: the share of common users changes nothing else.
    more = max(events - 1, 0.0) * np.exp(ACTIVITY * person[:, -1].astype(np.float64) - ACTIVITY**2 / 2)
    length = np.floor(1 + more + _stream(config, f"{name} length").random(users)).astype(np.int64)
    length = np.minimum(length, items)
    gumbel = -np.log(_stream(config, f"{name} choice").exponential(size=(users, items)).astype(np.float32) + 1e-30)
    wish = shelf.log_popularity + CHOICE * _match(shelf, person) + gumbel
    wanted = np.argsort(-wish, axis=1, kind="stable")
    row, place = np.nonzero((np.arange(items) < length[:, None]) & member[:, None])
    column = wanted[row, place]

    # Moments belong to (user, item), so the order in time says nothing about how much an item was wanted.
    moment = row + _stream(config, f"{name} time").random((users, items))[row, column]
    order = np.argsort(moment)
    column, day = column[order], DAYS * (moment[order] - row)
    time = START + (day * 86_400).astype(np.int64) + place  # + place: no two of a user at the same second
    noise = config.noise * _stream(config, f"{name} noise").standard_normal((users, items), dtype=np.float32)
    stars = np.clip(np.rint((_mean_stars(shelf, person) + noise)[row, column]), 1, 5)
    columns = {"user": _user_ids(users)[row], "item": shelf.table["item"].to_numpy()[column]}
    frame = pl.DataFrame({**columns, "rating": stars, "time": time}, schema=EVENTS)
    return Domain(name, frame, shelf.table, scale=(1.0, 5.0), positive=4.0)


def _match(shelf: Shelf, person: Floats) -> Floats:
    return person[:, :-2] @ shelf.loadings.T


def _mean_stars(shelf: Shelf, person: Floats) -> Floats:
    """Stars before noise and rounding, unbounded [users, items]."""
    return np.float32(MEAN) + shelf.quality + GENEROSITY * person[:, -2:-1] + MATCH * _match(shelf, person)


def _truth(config: SimulatedDomains, shelf: Shelf, person: Floats) -> Truth:
    appeal = (_mean_stars(shelf, person) - MEAN).astype(np.float64)
    price = shelf.table["price"].to_numpy()
    click = _with_mean(appeal, np.ones_like(appeal), config.click_rate)
    buy = _with_mean(appeal - np.log(price / config.price), click, config.purchase_rate)
    return Truth(
        users=tuple(_user_ids(len(person)).tolist()),
        items=tuple(shelf.table["item"]),
        rating=np.clip(MEAN + appeal, 1, 5).astype(np.float32),
        click=click.astype(np.float32),
        buy=buy.astype(np.float32),
        price=price.astype(np.float32),
    )


def _with_mean(logits: NDArray[np.float64], weights: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """sigmoid(logits + shift) with the shift that makes the weighted mean equal `mean`, found by bisection."""
    low, high = -50.0 - logits.max(), 50.0 - logits.min()
    weights = weights / weights.sum()
    for _ in range(40):
        shift = (low + high) / 2
        too_low = (weights / (1 + np.exp(-(logits + shift)))).sum() < mean
        low, high = (shift, high) if too_low else (low, shift)
    return 1 / (1 + np.exp(-(logits + shift)))

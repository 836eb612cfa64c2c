"""A simulated online test of runs: their lists are shown to the readers of a planted world, whose chances are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from numpy.typing import NDArray

from transfer.config.domains import SimulatedDomains
from transfer.data.interactions.simulate import simulate
from transfer.errors import TransferError, unknown
from transfer.evaluate.online.interleaving import preference
from transfer.evaluate.online.sequential import half_width, spread_of
from transfer.evaluate.online.trial import Trial, trial
from transfer.evaluate.online.visits import NO_ANSWER, Market, seen, worth
from transfer.experiment.result import Result
from transfer.experiment.run import load_run
from transfer.results.predictor import Predictor

REWARDS = ("click", "purchase", "revenue", "feedback")  # the rows of `worth`; feedback: likes


@dataclass(frozen=True)
class OnlineReport:
    """arms: of every arm its visits, mean reward of a visit with the ends of its confidence sequence, its true mean, and
    the day on which it was given up. days: the same of every evening, and the regret so far. interleaving: of every arm but
    the first the clicks for it less those for the first in a visit to a list of both, with its sequence, and after how
    many visits that left out 0. log: every impression, as `evaluate_log` reads it."""

    arms: pl.DataFrame
    days: pl.DataFrame
    interleaving: pl.DataFrame
    log: pl.DataFrame


class Arms(NamedTuple):
    """What is tested: names, lists int32 [arms, readers, positions] of items by place, ids of readers and items."""

    names: list[str]
    lists: NDArray[np.int32]
    readers: list[str]
    items: list[str]


def online_test(
    runs: Mapping[str, Any] | Sequence[Any],
    *,
    days: int = 30,
    readers: int = 1000,
    k: int = 10,
    reward: str = "revenue",
    position_bias: float = 1.0,
    explore: float = 0.0,
    give_up: bool = True,
    seed: int = 0,
) -> OnlineReport:
    """An A/B test of runs on one `domain=simulated`, and interleaving of each with the first.

    runs: folders, or what `run` gave, in order or by name; their k best items are shown to the readers of the test part, of
    whom so many come a day, at random. reward: what is tested, click, purchase, revenue or feedback (likes), in a visit.
    position_bias: η, position k is seen with chance k^-η. explore: how often a position shows any item in place of the
    list's; above 0 the log supports other policies. give_up: whether arms that have lost are shown no more.
    Raises TransferError, one line, for what is no such run, and for settings that are out of range.
    """
    given = {"days": days, "readers": readers, "k": k}
    if wrong := [name for name, value in given.items() if value < 1]:
        raise TransferError(f"{wrong[0]}={given[wrong[0]]}: write 1 or more")
    if not 0 <= explore <= 1:
        raise TransferError(f"explore={explore}: a chance is needed, from 0 to 1")
    if not 0 <= position_bias < np.inf:
        raise TransferError(f"position_bias={position_bias}: write 0, where every position is seen, or more")
    if reward not in REWARDS:
        raise TransferError(unknown("reward", reward, REWARDS))
    opened = _opened(runs)
    arms = arms_of(opened, k)
    world: Any = next(iter(opened.values())).config.domain  # a simulated one
    market = market_of(world, arms, position_bias)
    lists, row = jnp.asarray(arms.lists), REWARDS.index(reward)
    first, second = jax.random.split(jax.random.key(seed))
    found = trial(first, market, lists, days, readers, row, explore, give_up)
    truth = np.asarray(jnp.mean(worth(market, lists, explore)[row], axis=1), np.float64)
    by_day = _by_day(found, arms)
    preferred = [
        _preferred(np.asarray(preference(key, market, lists[0], of, days * readers)), name, arms.names[0])
        for key, of, name in zip(jax.random.split(second, len(lists)), lists[1:], arms.names[1:], strict=False)
    ]
    return OnlineReport(_at_the_end(by_day, found, arms, truth), by_day, pl.DataFrame(preferred), _log(found, market, arms))


def _opened(runs: Mapping[str, Any] | Sequence[Any]) -> dict[str, Result]:
    """The runs by name. Raises TransferError where they are not of one simulated world."""
    pairs = list(runs.items()) if isinstance(runs, Mapping) else [(None, run) for run in runs]
    opened: dict[str, Result] = {}
    for name, run in pairs:
        result = run if isinstance(run, Result) else load_run(Path(run))
        name = name or (result.config.method.name if result.folder is None else result.folder.name)
        if name in opened:
            raise TransferError(f"two runs are called {name}; give each a name: {{NAME: RUN, ...}}")
        opened[name] = result
    if len(opened) < 2:
        raise TransferError(f"{len(opened)} runs: two or more are tested against each other")
    worlds = [result.config.domain for result in opened.values()]
    for name, result in opened.items():
        if not isinstance(result.config.domain, SimulatedDomains) or not isinstance(result.predictor, Predictor):
            raise TransferError(f"{name}: what its readers would do is not known; a run with domain=simulated is needed")
        if result.config.domain != worlds[0] or result.config.split != next(iter(opened.values())).config.split:
            raise TransferError(f"{name}: its world or its split is not that of {next(iter(opened))}")
        if result.per_user is None:
            raise TransferError(f"{name}: nobody was tested, so nobody is there to come; write test=true")
    return opened


def arms_of(runs: Mapping[str, Result], k: int) -> Arms:
    """The k best items of every run for the readers of the test part. Raises TransferError where there are fewer."""
    first: Any = next(iter(runs.values()))
    readers, items = first.per_user["id"].to_list(), list(first.predictor.loaded.items)
    place = {item: i for i, item in enumerate(items)}
    lists = []
    for result in runs.values():
        predictor: Any = result.predictor
        found = predictor.recommend(readers, k).values()
        if (short := min(len(of) for of in found)) < k:
            raise TransferError(f"k={k}: a reader has only {short} items left; write k={short}")
        lists.append([[place[one.item] for one in of] for of in found])
    return Arms(list(runs), np.array(lists, np.int32), readers, items)


def market_of(config: SimulatedDomains, arms: Arms, bias: float) -> Market:
    """What the readers of the arms would do with all items."""
    truth = simulate(config)[2]
    user, item = ({name: i for i, name in enumerate(of)} for of in (truth.users, truth.items))
    rows, columns = [user[name] for name in arms.readers], [item[name] for name in arms.items]
    tables = [of[np.ix_(rows, columns)] for of in (truth.click, truth.buy, truth.rating)]
    click, buy, rating = (jnp.asarray(of, jnp.float32) for of in tables)
    price, noise = (jnp.asarray(of, jnp.float32) for of in (truth.price[columns], config.noise))
    return Market(click, buy, rating, price, noise, seen(arms.lists.shape[2], bias))


def _by_day(found: Trial, arms: Arms) -> pl.DataFrame:
    days, count = found.mean.shape
    mean, half = (np.asarray(of, np.float64).ravel() for of in (found.mean, found.half))
    return pl.DataFrame(
        {
            "day": np.repeat(np.arange(1, days + 1), count),
            "arm": arms.names * days,
            "visits": np.asarray(found.visits, np.int64).ravel(),
            "value": mean,
            "low": mean - half,
            "high": mean + half,
            "open": np.asarray(found.open).ravel(),
            "regret": np.repeat(np.asarray(found.regret, np.float64), count),
        }
    )


def _at_the_end(by_day: pl.DataFrame, found: Trial, arms: Arms, truth: NDArray[np.float64]) -> pl.DataFrame:
    is_open = np.asarray(found.open)
    given_up = [None if of[-1] else int(of.argmin()) + 1 for of in is_open.T]
    last = by_day.tail(len(arms.names)).select("arm", "visits", "value", "low", "high")
    return last.with_columns(truth=pl.Series(truth), given_up=pl.Series(given_up, dtype=pl.Int64))


def _preferred(values: NDArray[np.float32], name: str, against: str) -> dict[str, Any]:
    """Mean preference with its confidence sequence, and after how many visits that left out 0 for the first time."""
    count = jnp.arange(1, len(values) + 1, dtype=jnp.float32)
    mean, spread = spread_of(count, jnp.cumsum(values), jnp.cumsum(values**2))
    half = half_width(count, spread)
    sure = np.flatnonzero((np.abs(np.asarray(mean)) > np.asarray(half)) & (np.asarray(spread) > 0))
    end, width = float(mean[-1]), float(half[-1])
    decided = int(sure[0]) + 1 if len(sure) else None
    told = {"arm": name, "against": against, "visits": len(values), "preference": end}
    return told | {"low": end - width, "high": end + width, "decided": decided}


def _log(found: Trial, market: Market, arms: Arms) -> pl.DataFrame:
    """A row for every impression."""
    days, readers = found.arm.shape
    positions = found.shown.item.shape[2]
    visit = np.repeat(np.arange(days * readers), positions)
    item, propensity, click, purchase, feedback = (np.asarray(of).ravel() for of in found.shown)
    table = pl.DataFrame(
        {
            "day": visit // readers + 1,
            "slate": visit,
            "arm": np.array(arms.names)[np.asarray(found.arm).ravel()[visit]],
            "user": np.array(arms.readers)[np.asarray(found.reader).ravel()[visit]],
            "item": np.array(arms.items)[item],
            "position": np.tile(np.arange(1, positions + 1), days * readers),
            "propensity": propensity.astype(np.float64),
            "click": click,
            "purchase": purchase,
            "price": np.asarray(market.price, np.float64)[item],
            "feedback": feedback,
        }
    )
    bought, answered = pl.col("purchase") == 1, pl.col("feedback") != NO_ANSWER
    return table.with_columns(pl.when(bought).then("price"), pl.when(answered).then("feedback"))

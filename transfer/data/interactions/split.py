"""Splits: which events are hidden, drawn by `split.seed` alone. Everything is computed on raw events, host side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from transfer.config.splits import Split
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.given_split import given, users_of
from transfer.data.interactions.parts import Parts, drawn, shuffled, with_stop
from transfer.errors import TransferError


def split(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """Divide the events by the named rule. Raises TransferError where the data does not allow that rule."""
    parts = SPLITS[config.name](target, sources, config, data_dir)
    for name in ("train", "test"):
        if getattr(parts, name).is_empty():
            raise TransferError(f"split={config.name} leaves no {name} events of {target.name}; use another split or seed")
    return parts


def _cold_start(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """Test users lose their whole target history: the first β of one permutation; validation users are its tail."""
    if config.test_users:
        test = users_of(config.test_users, target, data_dir)
        valid = users_of(config.valid_users, target, data_dir) if config.valid_users else []
        if common := set(test) & set(valid):
            raise TransferError(f"{config.valid_users}: user {min(common)!r} is a test user too; remove it from one list")
    else:
        if config.beta is None or config.valid is None:
            raise TransferError("split=cold_start needs split.beta and split.valid, or split.test_users=FILE")
        shared = _shared_users(target, sources)
        order = drawn("cold_start", config.seed).permutation(len(shared))
        users = [shared[i] for i in order]
        test = users[: round(config.beta * len(users))]
        valid = _selecting(users[len(test) :], round(config.valid * len(users)), config)
    in_test, in_valid = pl.col("user").is_in(test), pl.col("user").is_in(valid)
    events = target.events
    train = with_stop(events.filter(~in_test & ~in_valid), target.name, config)
    visible = tuple(with_stop(s.events, s.name, config) for s in sources)
    rated = None if target.others is None else target.others.filter(~in_test & ~in_valid)
    return Parts(train, events.filter(in_valid), events.filter(in_test), visible, rated)


def _ratio(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """Every user's events at random: `test` and `valid` shares, at least one each from users with three or more."""
    test_share, valid_share = config.test or 0.0, config.valid or 0.0
    ranked = shuffled(target.events, "ratio", config.seed)
    n = pl.col("count")
    hides = (n >= 3).cast(pl.Int64)
    n_test = pl.max_horizontal(1, (n * test_share).floor().cast(pl.Int64)) * hides
    n_valid = pl.max_horizontal(int(valid_share > 0), (n * valid_share).floor().cast(pl.Int64)) * hides
    if config.folds is not None:
        users = target.events["user"].unique().sort()
        turns = dict(zip(users, drawn("ratio folds", config.seed).integers(config.folds, size=len(users)), strict=True))
        turn = pl.col("user").replace_strict(turns, return_dtype=pl.Int64)
        rest = (n >= 3) & (pl.col("rank") < n - n_test)  # in random order: dealt out in turn, beginning anywhere
        in_valid = rest & ((pl.col("rank") + turn) % config.folds == config.fold)
        return _three(ranked, pl.col("rank") >= n - n_test, in_valid, target, sources, config)
    return _by_rank(ranked, n_test, n_valid, target, sources, config)  # what is not liked is known, all of it


def _cold_items(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """New items: the first β of one permutation of the items lose all their events, validation items are its tail."""
    if config.beta is None or config.valid is None:
        raise TransferError("split=cold_items needs split.beta and split.valid, the shares of test and of validation items")
    items = target.events["item"].unique().sort()
    order = drawn("cold_items", config.seed).permutation(len(items))
    test = items.gather(order[: round(config.beta * len(items))])
    valid = items.gather(_selecting(order[len(test) :], round(config.valid * len(items)), config))
    in_test, in_valid = pl.col("item").is_in(test.implode()), pl.col("item").is_in(valid.implode())
    events, others = target.events, target.others
    return Parts(
        with_stop(events.filter(~in_test & ~in_valid), target.name, config),
        events.filter(in_valid),
        events.filter(in_test),
        tuple(with_stop(s.events, s.name, config) for s in sources),
        rated=None if others is None else others.filter(~in_test & ~in_valid),
        newcomers="none",
        new_items=True,
    )


def _selecting(rest: Any, count: int, config: Split) -> Any:
    """Of what is not test, in random order: the fold that is asked for, else the last `count`."""
    return rest[len(rest) - count :] if config.folds is None else rest[config.of(len(rest))]


def _leave_one_out(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """The last event of each user is the test, the one before it the validation (random order without times)."""
    dated = target.events["time"].null_count() == 0
    ranked = shuffled(target.events, "leave_one_out", config.seed, by="time" if dated else None)
    hides = (pl.col("count") >= 3).cast(pl.Int64)
    parts = _by_rank(ranked, hides, hides, target, sources, config)
    return replace(parts, order="by time" if dated else "random (there are no times)")


def _few_shot(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """New readers: a share β of those with more than `keep` events trains on `keep` of them and is tested on the rest.

    Users and order come from `seed` alone, so that readers and events of keep=1 are among those of keep=3.
    """
    if config.keep is None or config.beta is None:
        raise TransferError("split=few_shot needs split.keep and split.beta; write split.keep=3 split.beta=0.2")
    ranked = shuffled(target.events, "few_shot", config.seed)
    users = target.events["user"].unique().sort()
    part = dict(zip(users, drawn("few_shot users", config.seed).random(len(users)), strict=True))
    hidden = (pl.col("count") > config.keep) & (pl.col("rank") >= config.keep)
    draw = pl.col("user").replace_strict(part, return_dtype=pl.Float64)
    first, end = 1 - (config.valid or 0.0), 1.0
    if config.folds is not None and config.fold is not None:
        first, end = (config.beta + (1 - config.beta) * fold / config.folds for fold in (config.fold, config.fold + 1))
    in_test, in_valid = hidden & (draw < config.beta), hidden & (draw >= first) & (draw < end)
    parts = _three(ranked, in_test, in_valid, target, sources, config)
    asked = pl.concat([parts.valid["user"], parts.test["user"]]).unique()  # of them only what they keep is known
    rated = None if target.others is None else target.others.filter(~pl.col("user").is_in(asked.implode()))
    return replace(parts, rated=rated, newcomers="none" if config.keep else "all")


def _by_rank(
    ranked: pl.DataFrame, n_test: pl.Expr, n_valid: pl.Expr, target: Domain, sources: list[Domain], config: Split
) -> Parts:
    """The last `n_test` events of each user are test, the `n_valid` before them validation."""
    from_end = pl.col("count") - pl.col("rank")  # 1 is the last
    in_test = from_end <= n_test
    in_valid = ~in_test & (from_end <= n_test + n_valid)
    return _three(ranked, in_test, in_valid, target, sources, config)


def _three(
    ranked: pl.DataFrame, in_test: pl.Expr, in_valid: pl.Expr, target: Domain, sources: list[Domain], config: Split
) -> Parts:
    """Test, validation and, the rest, training events; all of the sources stays visible."""
    columns = target.events.columns
    train = ranked.filter(~in_test & ~in_valid).select(columns)
    visible = tuple(with_stop(s.events, s.name, config) for s in sources)
    return Parts(
        with_stop(train, target.name, config),
        ranked.filter(in_valid).select(columns),
        ranked.filter(in_test).select(columns),
        visible,
        rated=target.others,
        newcomers="none",
    )


def _global_time(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """One cut in time for all domains: training is before it everywhere, so no source event after it is seen."""
    cut, test_cut = _cuts(target, sources, config)
    before, between = pl.col("time") < cut, pl.col("time").is_between(cut, test_cut, closed="left")
    events, others = target.events, target.others
    return Parts(
        with_stop(events.filter(before), target.name, config, by="time"),
        events.filter(between),
        events.filter(pl.col("time") >= test_cut),
        tuple(with_stop(s.events.filter(before), s.name, config, by="time") for s in sources),
        rated=None if others is None else others.filter(before),
        rated_valid=None if others is None else others.filter(between),
        newcomers="none",
    )


def _fold_in(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """Training is before a cut in time; who comes later is known by earlier days and tested on the last one.

    Whoever has a last target day from the cut on, and target events on earlier days, is in validation or test by that day.
    Training knows the target events of a share of the users; those of a smaller share are among them.
    """
    cut, test_cut = _cuts(target, sources, config)
    events, time, day = target.events, pl.col("time"), pl.col("last")
    ends = events.group_by("user").agg(first=time.min(), last=time.max()).filter((pl.col("first") < day) & (day >= cut))
    asked = events.join(ends.select("user", "last"), on="user").filter(time == day)
    known = [d.events.join(ends.select("user", "last"), on="user").filter(time < day) for d in [target, *sources]]
    others = target.others
    if others is not None:
        others = others.join(ends.select("user", "last"), on="user").filter(time < day).drop("last")
    users = events["user"].unique().sort()
    draws = drawn("fold_in", config.seed).random(len(users))
    readers = users.filter(pl.Series(draws < (config.share or 1.0)))
    return Parts(
        with_stop(events.filter((time < cut) & pl.col("user").is_in(readers.implode())), target.name, config, by="time"),
        asked.filter(day < test_cut).drop("last"),
        asked.filter(day >= test_cut).drop("last"),
        tuple(with_stop(s.events.filter(time < cut), s.name, config, by="time") for s in sources),
        rated=others,
        histories=tuple(part.drop("last") for part in known),
    )


def _cuts(target: Domain, sources: list[Domain], config: Split) -> tuple[float, float]:
    """Where the last `valid` and `test` shares of target events begin; coarse times leave some to each part.

    Raises TransferError where a time is missing, and where the times of a source and of the target do not meet.
    """
    for domain in [target, *sources]:
        if domain.events["time"].null_count():
            raise TransferError(
                f"split={config.name} needs a time for every event, and {domain.name} has none; use split=ratio"
            )
    times = target.events["time"].sort()
    for source in sources:
        _meet(target, source, config.name)
    test_share, valid_share = config.test or 0.0, config.valid or 0.0
    cut, test_cut = times[int(len(times) * (1 - test_share - valid_share))], times[int(len(times) * (1 - test_share))]
    moments = times.unique().sort()
    if not valid_share or len(moments) < 3:
        return cut, test_cut
    of_test = max(int(moments.search_sorted(test_cut)), 2)
    of_valid = min(max(int(moments.search_sorted(cut)), 1), of_test - 1)
    return moments[of_valid], moments[of_test]


def _meet(target: Domain, source: Domain, name: str) -> None:
    """Times of two domains are compared: they must be of one kind. Raises TransferError where no moment is in both."""
    (low, high), (first, last) = ([of.events["time"].min(), of.events["time"].max()] for of in (source, target))
    if low > last or high < first:  # type: ignore[operator]
        spans = [f"{of.name} from {_day(of, 'min')} to {_day(of, 'max')}" for of in (source, target)]
        raise TransferError(
            f"split={name} compares times, and these do not meet: {' and '.join(spans)}; name another column with `time`, "
            "say how dates are written with `time_format`, or use split=ratio"
        )


def _day(domain: Domain, which: str) -> str:
    """The first or last time of a domain as a date, with the bare number where it looks like none."""
    seconds = float(getattr(domain.events["time"], which)())
    return (datetime(1970, 1, 1) + timedelta(seconds=seconds)).strftime("%Y-%m-%d") + f" ({seconds:.0f})"


SPLITS: dict[str, Callable[[Domain, list[Domain], Split, Path], Parts]] = {
    "cold_start": _cold_start,
    "cold_items": _cold_items,
    "ratio": _ratio,
    "leave_one_out": _leave_one_out,
    "few_shot": _few_shot,
    "global_time": _global_time,
    "fold_in": _fold_in,
    "files": given,
}


def _shared_users(target: Domain, sources: list[Domain]) -> list[str]:
    """Users of the target who are users of any source too, sorted, so that the order of rows does not matter."""
    elsewhere = pl.concat([s.events["user"] for s in sources]).unique() if sources else pl.Series([], dtype=pl.String)
    shared = target.events["user"].unique()
    shared = shared.filter(shared.is_in(elsewhere.implode())).sort()
    if len(shared) < 10:
        names = ", ".join(s.name for s in sources) or "no source"
        raise TransferError(
            f"split=cold_start needs users that {target.name} shares with a source, and {names} shares {len(shared)}; "
            "use split=ratio"
        )
    return shared.to_list()

"""Splits: which events are hidden, drawn by `split.seed` alone. Everything is computed on raw events, host side."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from transfer.config.domains import Files, Split
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.read import locate, read_domain
from transfer.errors import TransferError


@dataclass(frozen=True)
class Parts:
    """Training, validation and test events of the target, and what is visible of each source.

    `train` and `sources` carry a Boolean column `stop`: events that stages of one domain hold out for early stopping.
    `histories`, where people come after training: what is known of them then, by domain, the target first.
    """

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    sources: tuple[pl.DataFrame, ...]
    histories: tuple[pl.DataFrame, ...] = ()


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
        test = _read_users(config.test_users, target, data_dir)
        valid = _read_users(config.valid_users, target, data_dir) if config.valid_users else []
        if common := set(test) & set(valid):
            raise TransferError(f"{config.valid_users}: user {min(common)!r} is a test user too; remove it from one list")
    else:
        if config.beta is None or config.valid is None:
            raise TransferError("split=cold_start needs split.beta and split.valid, or split.test_users=FILE")
        shared = _shared_users(target, sources)
        order = _random("cold_start", config.seed).permutation(len(shared))
        users = [shared[i] for i in order]
        test = users[: round(config.beta * len(users))]
        valid = users[len(users) - round(config.valid * len(users)) :]
    in_test, in_valid = pl.col("user").is_in(test), pl.col("user").is_in(valid)
    events = target.events
    train = _with_stop(events.filter(~in_test & ~in_valid), target.name, config)
    visible = tuple(_with_stop(s.events, s.name, config) for s in sources)
    return Parts(train, events.filter(in_valid), events.filter(in_test), visible)


def _ratio(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """Every user's events at random: `test` and `valid` shares, at least one each from users with three or more."""
    test_share, valid_share = config.test or 0.0, config.valid or 0.0
    ranked = _shuffled(target.events, "ratio", config.seed)
    n = pl.col("count")
    hides = (n >= 3).cast(pl.Int64)
    n_test = pl.max_horizontal(1, (n * test_share).floor().cast(pl.Int64)) * hides
    n_valid = pl.max_horizontal(1, (n * valid_share).floor().cast(pl.Int64)) * hides
    return _by_rank(ranked, n_test, n_valid, target, sources, config)


def _leave_one_out(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """The last event of each user is the test, the one before it the validation (random order without times)."""
    dated = target.events["time"].null_count() == 0
    ranked = _shuffled(target.events, "leave_one_out", config.seed, by="time" if dated else None)
    hides = (pl.col("count") >= 3).cast(pl.Int64)
    return _by_rank(ranked, hides, hides, target, sources, config)


def _few_shot(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """New readers: a share β of those with more than `keep` events trains on `keep` of them and is tested on the rest.

    Users and order come from `seed` alone, so that readers and events of keep=1 are among those of keep=3.
    """
    if config.keep is None or config.beta is None:
        raise TransferError("split=few_shot needs split.keep and split.beta; write split.keep=3 split.beta=0.2")
    ranked = _shuffled(target.events, "few_shot", config.seed)
    users = target.events["user"].unique().sort()
    part = dict(zip(users, _random("few_shot users", config.seed).random(len(users)), strict=True))
    hidden = (pl.col("count") > config.keep) & (pl.col("rank") >= config.keep)
    draw = pl.col("user").replace_strict(part, return_dtype=pl.Float64)
    in_test, in_valid = hidden & (draw < config.beta), hidden & (draw >= 1 - (config.valid or 0.0))
    return _three(ranked, in_test, in_valid, target, sources, config)


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
    visible = tuple(_with_stop(s.events, s.name, config) for s in sources)
    return Parts(
        _with_stop(train, target.name, config),
        ranked.filter(in_valid).select(columns),
        ranked.filter(in_test).select(columns),
        visible,
    )


def _global_time(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """One cut in time for all domains: training is before it everywhere, so no source event after it is seen."""
    cut, test_cut = _cuts(target, sources, config)
    before = pl.col("time") < cut
    events = target.events
    return Parts(
        _with_stop(events.filter(before), target.name, config, by="time"),
        events.filter(~before & (pl.col("time") < test_cut)),
        events.filter(pl.col("time") >= test_cut),
        tuple(_with_stop(s.events.filter(before), s.name, config, by="time") for s in sources),
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
    users = events["user"].unique().sort()
    draws = _random("fold_in", config.seed).random(len(users))
    readers = users.filter(pl.Series(draws < (config.share or 1.0)))
    return Parts(
        _with_stop(events.filter((time < cut) & pl.col("user").is_in(readers.implode())), target.name, config, by="time"),
        asked.filter(day < test_cut).drop("last"),
        asked.filter(day >= test_cut).drop("last"),
        tuple(_with_stop(s.events.filter(time < cut), s.name, config, by="time") for s in sources),
        tuple(part.drop("last") for part in known),
    )


def _cuts(target: Domain, sources: list[Domain], config: Split) -> tuple[int, int]:
    """Where the last `valid` and `test` shares of target events begin. Raises TransferError where a time is missing."""
    for domain in [target, *sources]:
        if domain.events["time"].null_count():
            raise TransferError(
                f"split={config.name} needs a time for every event, and {domain.name} has none; use split=ratio"
            )
    times = target.events["time"].sort()
    test_share, valid_share = config.test or 0.0, config.valid or 0.0
    return times[int(len(times) * (1 - test_share - valid_share))], times[int(len(times) * (1 - test_share))]


def _files(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """Somebody else's split: `target_train|valid|test` and `source_train|valid` files of events, taken as they are."""
    if config.dir is None:
        raise TransferError("split=files needs split.dir=FOLDER with target_train.tsv, target_valid.tsv, target_test.tsv")
    if len(sources) > 1:
        raise TransferError("split=files knows one source (source_train.tsv); drop the others from domain.source")
    folder = Path(config.dir) if Path(config.dir).exists() else data_dir / config.dir
    read = {name: _read_part(folder, name) for name in ("target_train", "target_valid", "target_test")}
    _refuse_repeats(read, folder)
    source: tuple[pl.DataFrame, ...] = ()
    if sources:
        kept, stop = _read_part(folder, "source_train"), _read_part(folder, "source_valid")
        _refuse_repeats({"source_train": kept, "source_valid": stop}, folder)
        marked = [kept.with_columns(stop=pl.lit(False)), stop.with_columns(stop=pl.lit(True))]
        source = (pl.concat(marked),)
    train = _with_stop(read["target_train"], target.name, config)
    return Parts(train, read["target_valid"], read["target_test"], source)


SPLITS: dict[str, Callable[[Domain, list[Domain], Split, Path], Parts]] = {
    "cold_start": _cold_start,
    "ratio": _ratio,
    "leave_one_out": _leave_one_out,
    "few_shot": _few_shot,
    "global_time": _global_time,
    "fold_in": _fold_in,
    "files": _files,
}


def _read_part(folder: Path, name: str) -> pl.DataFrame:
    for suffix in (".tsv", ".csv", ".inter", ".parquet"):
        if (folder / f"{name}{suffix}").exists():
            return read_domain(Files(path=str(folder / f"{name}{suffix}"), name=name), folder).events
    raise TransferError(f"{folder}: no {name}.tsv (or .csv, .inter, .parquet); split=files reads it from split.dir")


def _read_users(path: str, target: Domain, data_dir: Path) -> list[str]:
    users = locate(path, data_dir).read_text(encoding="utf-8").split()
    if not users:
        raise TransferError(f"{path}: no users; write one user id per line")
    if unknown := set(users) - set(target.events["user"].unique()):
        raise TransferError(f"{path}: {len(unknown)} users are not in {target.name}, such as {min(unknown)}; remove them")
    return users


def _refuse_repeats(parts: dict[str, pl.DataFrame], folder: Path) -> None:
    """Every (user, item) may stand once in the files of one domain: twice would train on what is tested."""
    pairs = pl.concat([events.select("user", "item", file=pl.lit(name)) for name, events in parts.items()])
    twice = pairs.filter(pl.struct("user", "item").is_duplicated()).sort("user", "item", maintain_order=True)
    if not twice.is_empty():
        (user, item, first), (_, _, second) = twice.rows()[:2]
        where = f"{first} and {second}" if first != second else f"{first} twice"
        raise TransferError(f"{folder}: user {user} has item {item} in {where}; keep one of the rows")


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


def _random(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _shuffled(events: pl.DataFrame, name: str, seed: int, by: str | None = None) -> pl.DataFrame:
    """Events in random order within each user (or ordered by a column, ties at random), with `rank` and `count`."""
    ordered = events.sort("user", "item")
    ordered = ordered.with_columns(draw=pl.Series(_random(name, seed).random(len(ordered))))
    ordered = ordered.sort(["user", by, "draw"] if by else ["user", "draw"])
    return ordered.with_columns(rank=pl.int_range(pl.len()).over("user"), count=pl.len().over("user").cast(pl.Int64))


def _with_stop(events: pl.DataFrame, name: str, config: Split, by: str | None = None) -> pl.DataFrame:
    """Mark a share `split.stop` of each user's events as this domain's own hold-out: random ones, or the last `by` time."""
    ranked = _shuffled(events, f"stop/{name}", config.seed, by)
    n_stop = (pl.col("count") * config.stop + 0.5).floor()
    return ranked.with_columns(stop=(pl.col("count") - pl.col("rank")) <= n_stop).drop("draw", "rank", "count")

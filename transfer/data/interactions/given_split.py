"""Somebody else's split: files with the events of every part, or with the users that are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from transfer.config.domains import Files
from transfer.config.splits import Split
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.formats import JSON, PARQUET, ending
from transfer.data.interactions.likes import divided
from transfer.data.interactions.parts import Parts, with_stop
from transfer.data.interactions.read import locate, read_domain
from transfer.data.kept import noted
from transfer.errors import TransferError

KINDS = (".tsv", ".csv", ".inter", ".parquet", ".jsonl", ".json")
PARTS = (*KINDS, *(f"{kind}{packed}" for packed in (".gz", ".zst") for kind in KINDS))


def given(target: Domain, sources: list[Domain], config: Split, data_dir: Path) -> Parts:
    """Somebody else's split: `target_train|valid|test` and `source_train|valid` files of events, taken as they are."""
    if config.dir is None:
        raise TransferError("split=files needs split.dir=FOLDER with target_train.tsv, target_valid.tsv, target_test.tsv")
    if len(sources) > 1:
        raise TransferError("split=files knows one source (source_train.tsv); drop the others from domain.source")
    folder = Path(config.dir) if Path(config.dir).exists() else data_dir / config.dir
    read = {name: _read_part(folder, name, target) for name in ("target_train", "target_valid", "target_test")}
    _refuse_repeats(read, folder)
    source: tuple[pl.DataFrame, ...] = ()
    if sources:
        kept, stop = (_read_part(folder, name, sources[0]) for name in ("source_train", "source_valid"))
        _refuse_repeats({"source_train": kept, "source_valid": stop}, folder)
        marked = [kept.with_columns(stop=pl.lit(False)), stop.with_columns(stop=pl.lit(True))]
        source = (pl.concat(marked),)
    if target.others is None:
        return Parts(
            with_stop(read["target_train"], target.name, config), read["target_valid"], read["target_test"], source
        )
    liked = {name: divided(events, target) for name, events in read.items()}
    train, valid, test = (liked[name][0] for name in ("target_train", "target_valid", "target_test"))
    visible = tuple(divided(events, of)[0] for events, of in zip(source, sources, strict=True))
    rated, rated_valid = liked["target_train"][1], liked["target_valid"][1]
    return Parts(with_stop(train, target.name, config), valid, test, visible, rated, rated_valid)


def _read_part(folder: Path, name: str, domain: Domain) -> pl.DataFrame:
    """The events of one part, read as its domain is: by the same columns, with the same scale."""
    files = domain.files or Files(path="")
    for suffix in PARTS:
        if noted(path := folder / f"{name}{suffix}").exists():
            separator = files.separator if ending(Path(files.path)).suffix == ending(path).suffix else None
            change: dict[str, Any] = {"path": str(path), "name": name, "items": None, "title": None, "separator": separator}
            change |= {"where": (), "each": None}
            if ending(path).suffix in (*JSON, *PARQUET):  # which have names for their columns
                change |= {"columns": (), "header": None, "quoted": None}
            of = "domain.target" if name.startswith("target") else "domain.source"
            return read_domain(files.model_copy(update=change), folder, of).events
    raise TransferError(f"{folder}: no {name}.tsv (or .csv, .inter, .parquet); split=files reads it from split.dir")


def users_of(path: str, target: Domain, data_dir: Path) -> list[str]:
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

"""Read and cleaned domains are kept on disk while their files are as they were: this is most of what loading takes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import cache as once
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from transfer.config.domains import FileDomains, Files
from transfer.data import cache
from transfer.data.given import PREFIX
from transfer.data.interactions.domain import Domain
from transfer.data.kept import State, noted, noting, state_of

Cleaned = tuple[Domain, list[Domain], dict[str, dict[str, int]]]  # target, sources, and what cleaning did to each
WORDS = ("name", "scale", "positive", "notes", "columns", "disliked")  # of a domain, besides its tables and its files


def kept_or_read(read: Callable[[], Cleaned], domains: FileDomains, data_dir: Path) -> Cleaned:
    """What `read` returns; from the user's cache folder where no file that it read, or missed, has changed since.

    What is given from Python lies in no file and is not kept.
    """
    if any(files.path.startswith(PREFIX) for files in (domains.target, *domains.source)):
        return read()
    decides = json.dumps([domains.model_dump(mode="json"), str(data_dir.absolute()), os.getcwd(), _code()])
    path = cache.folder("domains") / f"{hashlib.sha256(decides.encode()).hexdigest()[:24]}.safetensors"
    if (found := cache.kept(path)) and all(
        state_of(noted(Path(place))) == _state(as_was) for place, as_was in found[1]["files"]
    ):
        return _unpacked(*found)
    with noting() as files:
        made = read()
    arrays, facts = _packed(made)
    cache.keep(path, arrays, {**facts, "files": [[str(place), state] for place, state in files.items()]})
    return made


def _state(as_was: list[int] | None) -> State:
    return None if as_was is None else (as_was[0], as_was[1], as_was[2])


@once
def _code() -> str:
    """What reads and cleans: the sources of this part of the package, and Polars."""
    package = Path(__file__).parents[1]
    sources = sorted(file for room in ("data", "config") for file in (package / room).rglob("*.py"))
    content = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in sources)
    return f"{hashlib.sha256(content).hexdigest()} {pl.__version__}"


def _packed(made: Cleaned) -> tuple[cache.Arrays, dict[str, Any]]:
    """Tables as bytes in the format of Arrow, numbered ids as their numbers beside one table of all ids."""
    target, sources, cleaning = made
    domains = [target, *sources]
    arrays = {f"{i} items": _bytes(_numbers(domain.items, ["item"])) for i, domain in enumerate(domains)}
    arrays["events"] = _bytes(pl.concat([_numbers(domain.events, ["user", "item"]) for domain in domains]))
    for name in ("user", "item"):
        numbered: Any = target.events[name].dtype
        arrays[f"{name}s"] = _bytes(numbered.categories.to_frame(name))
    said = [{word: getattr(domain, word) for word in WORDS} for domain in domains]
    for domain, words in zip(domains, said, strict=True):
        words |= {"rows": len(domain.events), "files": domain.files.model_dump(mode="json") if domain.files else None}
    return arrays, {"domains": said, "cleaning": cleaning}


def _unpacked(arrays: cache.Arrays, facts: dict[str, Any]) -> Cleaned:
    said = facts["domains"]
    events, items = _table(arrays["events"]), [_table(arrays[f"{i} items"]) for i in range(len(said))]
    ids = {name: pl.Enum(_table(arrays[f"{name}s"]).to_series()) for name in ("user", "item")}
    # at once, because this looks at all ids, however short the column is
    listed = pl.concat([events["item"], *(table["item"] for table in items)]).cat.to(ids["item"])
    events = events.with_columns(events["user"].cat.to(ids["user"]), listed[: len(events)])
    domains, first, row = [], len(events), 0
    for words, table in zip(said, items, strict=True):
        own = events.slice(row, words.pop("rows"))
        row, table = row + len(own), table.with_columns(listed.slice(first, len(table)))
        first += len(table)
        files, scale = words.pop("files"), words.pop("scale")
        words |= {"scale": tuple(scale) if scale else None, "files": Files.model_validate(files) if files else None}
        domains.append(Domain(**words, events=own, items=table))
    return domains[0], domains[1:], facts["cleaning"]


def _numbers(table: pl.DataFrame, ids: list[str]) -> pl.DataFrame:
    return table.with_columns(table[name].to_physical().cast(pl.UInt32) for name in ids)


def _bytes(table: pl.DataFrame) -> np.ndarray:
    content = BytesIO()
    table.rechunk().write_ipc(content)
    return np.frombuffer(content.getbuffer(), np.uint8)


def _table(content: np.ndarray) -> pl.DataFrame:
    return pl.read_ipc(BytesIO(content.tobytes()))

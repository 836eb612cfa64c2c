"""Files of runs, which may be somebody else's: read within bounds, checked, refused in one line that names the file."""

from __future__ import annotations

import io
import json
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transfer.config.schema import describe
from transfer.errors import TransferError
from transfer.results.run_folder import Loader
from transfer.storage.damaged import POLARS

# What a user may have no value of: nothing in her list has a text, genres, a price, or is judged.
OF_LISTS = ("popularity_lift", "genre_diversity", "text_diversity", "miscalibration", "price_ndcg")
PARTIAL = (*OF_LISTS, "like_share", "judged_auc", "user_auc")

BYTES, NODES, ROWS = 2**25, 100_000, 50_000_000
# Control characters and marks that turn the direction of text: in no file of a report.
CONTROLS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Numbers = dict[str, float | None]


class Lenient(BaseModel):
    """What the report needs of a part of result.json; more may stand there."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class Select(Lenient):
    metric: Annotated[str, Field(pattern=r"^[\w.]+(@\d+)?$", max_length=60)]
    sign: Literal[1, -1]
    by: str = "valid"


class Domain(Lenient):
    name: str


class World(Lenient):
    target: Domain
    sources: list[Domain]
    classes: list[str | int] = []


class Guard(Lenient):
    kind: str
    weights: dict[str, float]


class Result(Lenient):
    """result.json of any run."""

    status: Literal["done", "diverged", "failed", "interrupted", "unfinished"]
    metrics: dict[str, Numbers] = {}
    error: str | None = None
    parameters: Count | None = None
    trainable_parameters: Count | None = None
    replicas: Annotated[Count, Field(ge=1)] = 1
    uses_source: bool = True
    reproducible: bool = True
    seconds: dict[str, float] = {}
    distance: dict[str, Numbers] = {}
    shift: Numbers = {}
    selectors: Numbers = {}
    guard: Guard | None = None
    source_weights: dict[str, float] = {}
    source_without: dict[str, float] = {}
    source_errors: dict[str, float] = {}
    source_alone: dict[str, float] = {}
    trainable_by_stage: dict[str, Count] = {}
    seconds_by_stage: dict[str, float] = {}
    versions: dict[str, str] = {}
    python: str | None = None
    device: str | None = None
    commit: str | None = None
    ended: str | None = None


class Protocol(Lenient):
    split: dict[str, Any]


class Finished(Result):
    """result.json of a run that is done."""

    domain: str
    task: Annotated[str, Field(pattern=r"^\w{1,60}$")]
    seed: Count
    split_seed: Count
    fingerprint: str
    select: Select
    protocol: Protocol
    world: World


class Choice(Lenient):
    """choice.json: what sweep=auto chose, in words, and what each candidate with a source would bring."""

    text: str
    gains: dict[str, Numbers] = {}


def content(path: Path, most: int = BYTES) -> bytes:
    """The bytes of a regular file. Raises TransferError where it is none, is too large or cannot be read."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise TransferError(f"{path.name}: not a regular file")
        if facts.st_size > most:
            raise TransferError(f"{path.name}: {facts.st_size:,} bytes, at most {most:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise TransferError(f"{path.name}: {error.strerror or error}") from None


def read_json(path: Path) -> Any:
    """A JSON file of finite numbers. Raises TransferError."""
    return parse_json(content(path), path.name)


def parse_json(data: bytes, name: str) -> Any:
    """One JSON value of finite numbers. Raises TransferError."""

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no number of JSON")

    try:
        value = json.loads(data, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()  # half a pair of surrogates can be written nowhere
        return value
    except (ValueError, RecursionError) as error:
        raise TransferError(f"{name}: not readable as JSON ({clean(str(error))})") from None


def read_yaml(path: Path) -> Any:
    """A YAML file as plain values: nothing in it is resolved. Raises TransferError, for nests of aliases too."""
    data = content(path)
    try:
        value = yaml.load(data, Loader)
    except Exception as error:  # besides YAMLError whatever a conversion raises: ValueError, KeyError, AttributeError ...
        raise TransferError(f"{path.name}: not readable as YAML ({clean(str(error))})") from None
    left, waiting = NODES, [value]
    while waiting:  # aliases are shared in memory and multiply when they are walked
        item, left = waiting.pop(), left - 1
        if left < 0:
            raise TransferError(f"{path.name}: more than {NODES:,} values, counted through its aliases")
        if isinstance(item, str):
            if not item.isascii() and item.encode(errors="ignore").decode() != item:
                raise TransferError(f"{path.name}: text that is no Unicode")
        elif isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                raise TransferError(f"{path.name}: a key that is no text")
            waiting += [*item, *item.values()]
        elif isinstance(item, (list, tuple, set)):
            waiting += item
        elif isinstance(item, (int, float)) and not abs(item) < 1e300:
            raise TransferError(f"{path.name}: a number that is not finite")
    return value


def read_parquet(path: Path, columns: Iterable[str], unread: Iterable[str] = ()) -> pl.DataFrame:
    """A table of finite numbers (and flags) with at least these columns, without those `unread`; null where a user may have
    no value. Raises TransferError."""
    data = content(path, most=2**30)
    if not data.startswith(b"PAR1"):
        raise TransferError(f"{path.name}: no Parquet file")
    try:
        lazy = pl.scan_parquet(io.BytesIO(data)).drop(*unread, strict=False)
        schema, rows = lazy.collect_schema(), int(lazy.select(pl.len()).collect().item())
        if missing := sorted(set(columns) - set(schema)):
            raise TransferError(f"{path.name}: no column {missing[0]}")
        if rows * max(len(schema), 1) > ROWS:
            raise TransferError(f"{path.name}: {rows:,} rows of {len(schema)} columns, too many to be the values of a test")
        table = lazy.collect()
    except (*POLARS, OSError, ValueError) as error:
        raise TransferError(f"{path.name}: not readable as Parquet ({clean(str(error))})") from None
    for name, kind in table.schema.items():
        if not (kind.is_numeric() or kind == pl.Boolean):
            raise TransferError(f"{path.name}: column {clean(name)} has no numbers")
        known = table[name].drop_nulls() if name.partition("@")[0].endswith(PARTIAL) else table[name]
        if known.null_count() or (kind.is_float() and not np.isfinite(known.to_numpy()).all()):
            raise TransferError(f"{path.name}: column {clean(name)} has values that are not finite")
    return table


def read_result(path: Path) -> dict[str, Any]:
    """result.json with all that the report needs of it. Raises TransferError that names the key."""
    value = read_json(path)
    try:
        known = Result.model_validate(value)
        if known.status == "done":
            Finished.model_validate(value)
    except ValidationError as error:
        raise TransferError(f"{path.name}: {clean(describe(error))}") from None
    return {"metrics": {}, **value}


def read_choice(path: Path) -> Choice:
    """choice.json of sweep=auto. Raises TransferError."""
    try:
        return Choice.model_validate(read_json(path))
    except ValidationError as error:
        raise TransferError(f"{path.name}: {clean(describe(error))}") from None


def paragraphs(choice: Choice) -> list[str]:
    """What choice.json says in words, a few lines of printable text."""
    return [clean(line, 1500) for line in choice.text.split("\n")[:4]]


def clean(text: str, letters: int = 200) -> str:
    """One line of printable text, cut where it is long: no terminal escape, no direction mark, no megabytes."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text[: 20 * letters])
    line = " ".join(kept.split())
    return line if len(line) <= letters else line[:letters] + "…"

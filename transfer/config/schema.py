"""The border between Hydra and the code: the schema, what is traced (seed, hp) and what is static (all the rest)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
)

from transfer.config.domains import ExampleDomains, FileDomains, Files, Frozen, LabelledDomains, SimulatedDomains
from transfer.config.features import ByName
from transfer.config.labelled import ExampleFiles
from transfer.config.selection import Selector
from transfer.config.splits import ExampleSplit, Split
from transfer.errors import TransferError, no_such_key


class Task(Frozen):
    """What is predicted and how it is scored; domains: of the target alone, or of every domain in turn, `asked` which."""

    name: str
    positives: bool = False
    domains: Literal["target", "all"] = "target"
    asked: int = Field(default=0, ge=0)
    k: tuple[int, ...] = ()
    select: str
    loss: str
    negatives: int = Field(default=0, ge=0)
    sampled: int = Field(default=0, ge=0)
    l2: float = Field(ge=0)


class Model(BaseModel):
    """The network or factorisation; a model module may refine this with a `Settings` class of its own. dim: width of the
    representation. init: standard deviation of initial weights."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str
    dim: int = Field(default=1, ge=1)
    init: float = Field(default=0.1, gt=0)

    if TYPE_CHECKING:  # the settings of models, which only their own modules know

        def __getattr__(self, key: str) -> Any: ...


def _as_patterns(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Method(BaseModel):
    """How knowledge travels; a method module refines this with a `Settings` class of its own.

    guard: whether its scores are mixed with those of target_only, in shares that validation chooses. permute: blocks of
    item features whose rows are swapped between the items of each domain, by permute_seed, or modalities of examples: are
    they used? fusion: early, late, or the name of the one modality that is seen (transfer.learning.fusion). rank_by: lists
    by scores, or by chance × price (transfer.learning.chances).
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str
    guard: Literal["none", "gate", "weights"] = "none"
    permute: Annotated[tuple[str, ...], BeforeValidator(_as_patterns)] = ()
    permute_seed: int = Field(default=0, ge=0)
    fusion: str = "early"
    rank_by: Literal["score", "revenue"] = "score"

    if TYPE_CHECKING:  # the settings of methods, which only their own modules know

        def __getattr__(self, key: str) -> Any: ...


class Train(Frozen):
    """The budget of every gradient stage and how its replicas run. steps: in place of epochs; seconds: of a run's share of
    wall-clock, at most, whatever these say; keep: the parameters that validation prefers, with early stopping, or those at
    the end; tables: how rows move that a batch does not read; shard: what several devices divide among them."""

    epochs: int = Field(ge=1)
    steps: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    batch_size: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    keep: Literal["best", "last"] = "best"
    replicas: Literal["auto", "vmap", "map", "loop"]
    tables: Literal["auto", "dense", "late", "adagrad"] = "auto"
    shard: Literal["auto", "replicas", "batch", "tables"] = "auto"
    checkpoint_seconds: float = Field(ge=0)
    progress: bool


class Track(Frozen):
    """The tracker that runs are copied to, one entry per run or per program, at their end or (`live`) while they train;
    whether `parameters` are written (a sweep of large ones fills a disk)."""

    name: Literal["none", "wandb", "mlflow", "tensorboard", "csv"]
    per: Literal["run", "program"] = "run"
    live: bool = False
    parameters: bool = True


def _as_track(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Engine(Frozen):
    """Where and how the programs of a sweep run; it changes no result, so it is no part of a run."""

    name: Literal["inprocess", "joblib", "ray", "submitit"]
    workers: int | None = Field(ge=1)
    max_batch: int | None = Field(ge=1)
    reuse_stages: bool
    options: dict[str, Any]


class Traced(Frozen):
    """What may differ between the replicas of one program."""

    seed: int = Field(ge=0, lt=2**32)
    hp: dict[str, float]

    @field_validator("hp", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        for key, number in dict(value).items():
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"hp.{key}={number!r} is not a finite number")
        return value


AnyDomain = Annotated[FileDomains | SimulatedDomains | ExampleDomains | ExampleFiles, Field(discriminator="kind")]


class Config(Traced):
    """One run. Everything is static but `seed` and `hp`."""

    domain: SerializeAsAny[AnyDomain]
    split: Annotated[Split | ExampleSplit, Field(discriminator="name")]
    task: Task
    model: SerializeAsAny[Model]  # with the settings of its subclass, or programs of different settings are mixed up
    method: SerializeAsAny[Method]
    train: Train
    track: Annotated[Track, BeforeValidator(_as_track)]
    data_dir: str
    resume: bool
    test: bool
    select: Selector = "valid"
    init_from: str | None = None
    init_only: Annotated[tuple[str, ...] | None, BeforeValidator(_as_patterns)] = None

    def static(self) -> dict[str, Any]:
        """Everything that decides the compiled program, as plain JSON values."""
        return self.model_dump(mode="json", exclude={"seed", "hp", "resume", "track"})

    def program_key(self, without: tuple[str, ...] = ()) -> str:
        """Equal keys mean one compiled program: the static part and the names (not the values) of hp. `without` leaves out
        what only decides the world, where its shapes stand beside the key."""
        static = {key: value for key, value in self.static().items() if key not in without}
        return json.dumps([static, sorted(self.hp)], sort_keys=True)

    def run_id(self, fingerprint: str) -> str:
        """Identity of a run: hash of configuration, hp, seed and the fingerprint of its data and given parameters."""
        static = {key: value for key, value in self.static().items() if key not in BY_CONTENT}
        static["model"] = {key: value for key, value in static["model"].items() if key not in MODEL_PATHS}
        return _hash([static, self.domain.name, self.hp, self.seed, fingerprint])

    def identity(self) -> str:
        """Identity of what was asked for, known before any data is read: hash of configuration, hp and seed."""
        return _hash([self.static(), self.hp, self.seed])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


# Keys of the composed configuration that say how a sweep or a run is carried out, not what a run is.
OF_SWEEPS = ("hydra", "engine", "retry", "sweep", "budget", "processes", "dry_run")
FILE_PATHS, SPLIT_PATHS = ("path", "links"), ("dir", "valid_users", "test_users", "candidates")
MODEL_PATHS, EXAMPLE_PATHS = ("weights",), ("tokenizer", "encoder")
BY_CONTENT = ("data_dir", "domain", "split", "init_from")  # a run's identity has a fingerprint of these in their place


def parse(raw: DictConfig | Mapping[str, Any]) -> Config:
    """Turn a composed configuration into a `Config`. Raises TransferError, one line naming the key and the remedy."""
    kept = [str(key) for key in raw if key not in OF_SWEEPS]
    if isinstance(raw, DictConfig):
        plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(raw, kept), resolve=True, throw_on_missing=False)
    else:
        plain = raw
    values = {key: plain[key] for key in kept}
    try:
        return _anchored(Config.model_validate(values))
    except ValidationError as error:
        raise TransferError(describe(error, given=values)) from None


def parse_engine(raw: DictConfig) -> Engine:
    """The engine of a sweep. Raises TransferError, one line naming the key and the remedy."""
    try:
        return Engine.model_validate(given := OmegaConf.to_container(raw.engine, resolve=True))
    except ValidationError as error:
        raise TransferError(describe(error, "engine.", given)) from None


def traced(config: Config, values: Mapping[str, Any]) -> Config:
    """The same configuration with other values of `seed` and `hp.*`. Raises TransferError for what is no number."""
    hp = {key.removeprefix("hp."): value for key, value in values.items() if key != "seed"}
    change = {"seed": values.get("seed", config.seed), "hp": {**config.hp, **hp}}
    try:
        checked = Traced.model_validate(change)
    except ValidationError as error:
        raise TransferError(describe(error)) from None
    return config.model_copy(update={"seed": checked.seed, "hp": checked.hp})


def _anchored(config: Config) -> Config:
    """The same with absolute paths, so that a run folder can be read from anywhere."""
    data_dir = Path(config.data_dir).expanduser().resolve()

    def absolute(part: Any, keys: tuple[str, ...]) -> Any:
        """Paths that are found from here and not in data_dir."""
        given = {key: path for key in keys if (path := getattr(part, key, None))}
        here = {key: str(Path(path).resolve()) for key, path in given.items() if Path(path).exists()}
        return part.model_copy(update={key: path for key, path in here.items() if not (data_dir / given[key]).exists()})

    def anywhere(part: Any, keys: tuple[str, ...]) -> Any:
        """Paths that are found from here, else in data_dir."""
        given = {key: path for key in keys if isinstance(path := getattr(part, key, None), str)}
        places = {key: [Path(path).expanduser().resolve(), data_dir / path] for key, path in given.items()}
        found = {key: str(place) for key, both in places.items() for place in reversed(both) if place.exists()}
        return part.model_copy(update=found)

    update: dict[str, Any] = {"data_dir": str(data_dir), "split": absolute(config.split, SPLIT_PATHS)}
    update["model"] = anywhere(config.model, MODEL_PATHS)
    update["init_from"] = anywhere(config, ("init_from",)).init_from
    if isinstance(config.domain, LabelledDomains):
        parts = ByName({name: anywhere(part, EXAMPLE_PATHS) for name, part in config.domain.modalities.items()})
        update["domain"] = anywhere(config.domain, EXAMPLE_PATHS).model_copy(update={"modalities": parts})
    if isinstance(config.domain, ExampleFiles):
        own = [absolute(file, FILE_PATHS) for file in (config.domain.target, *config.domain.source)]
        update["domain"] = update["domain"].model_copy(update={"target": own[0], "source": tuple(own[1:])})
    if isinstance(config.domain, FileDomains):

        def of(files: Files) -> Files:
            texts = tuple(absolute(texts, FILE_PATHS) for texts in files.texts)
            items = files.items
            if items:
                places = ByName({name: absolute(place, FILE_PATHS) for name, place in items.features.items()})
                measured = {key: absolute(at, FILE_PATHS) for key in ("genres", "price") if (at := getattr(items, key))}
                items = absolute(items, FILE_PATHS).model_copy(update={"features": places, **measured})
            return absolute(files, FILE_PATHS).model_copy(update={"texts": texts, "items": items})

        source = tuple(of(files) for files in config.domain.source)
        blocks = ByName({name: anywhere(block, EXAMPLE_PATHS) for name, block in config.domain.features.items()})
        changes = {"target": of(config.domain.target), "source": source, "features": blocks}
        update["domain"] = config.domain.model_copy(update=changes)
    return config.model_copy(update=update)


def _beside(given: Any, place: list[Any]) -> list[str]:
    """The other keys of the mapping in which a key stands; none where the schema has made a mapping of something else."""
    try:
        return [str(key) for key in reduce(getitem, place[:-1], given) if key != place[-1]]
    except (KeyError, IndexError, TypeError):
        return []


def describe(error: ValidationError, prefix: str = "", given: Any = None) -> str:
    """The first problem of a pydantic error as one line: key, value, what is wrong, how many more there are.

    given: what was validated; beside a key that does not exist stand those that do.
    """
    first, count = error.errors()[0], error.error_count()
    place = [part for i, part in enumerate(first["loc"]) if i != 1 or first["loc"][0] not in ("domain", "split")]  # no tag
    key = prefix + ".".join(str(part) for part in place)
    message = first["msg"].removeprefix("Value error, ")
    if first["input"] == "???":
        message = f"must be given: write {key}=VALUE"
    elif first["type"] == "extra_forbidden":
        if known := _beside(given, place):
            return no_such_key(str(place[-1]), known, key.removesuffix(str(place[-1])))
        message = "no such key here; remove it or check its spelling"
    elif not isinstance(first["input"], dict):
        message = f"{first['input']!r}: {message}"
    return f"{key}: {message}" + (f" (and {count - 1} more)" if count > 1 else "")

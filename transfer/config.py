"""The border between Hydra and the code: the schema, what is traced (seed, hp) and what is static (all the rest)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
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
    model_validator,
)

from transfer.errors import TransferError


class Frozen(BaseModel):
    """Base of every schema: unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Files(Frozen):
    """Where one domain's interactions and item table are, and what their columns are called (null: recognised)."""

    path: str
    name: str = ""
    items: str | None = None
    user: str | None = None
    item: str | None = None
    rating: str | None = None
    time: str | None = None
    title: str | None = None
    separator: str | None = None
    encoding: str = "utf-8"
    scale: tuple[float, float] | None = None
    positive: float | None = None


def _as_files(value: Any) -> Any:
    if value == "???":
        raise ValueError("must be given: a file, such as books.inter, or {path: books.csv, user: reader, item: isbn}")
    return {"path": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    if value is None:
        return ()
    return tuple(_as_files(v) for v in value) if isinstance(value, list | tuple) else (_as_files(value),)


class FileDomains(Frozen):
    """A world read from files: one target, any number of sources, and how the faults of real data are handled."""

    kind: Literal["files"]
    name: str
    target: Annotated[Files, BeforeValidator(_as_files)]
    source: Annotated[tuple[Files, ...], BeforeValidator(_as_list)]
    global_ids: bool
    same_users: bool
    duplicates: Literal["last", "mean", "max", "error"]
    mirrored: Literal["keep", "drop", "error"]
    near_duplicates: Literal["merge", "report"]
    jaccard: float = Field(gt=0, le=1)
    common_raters: int = Field(ge=2)
    core: int = Field(ge=0)


class SimulatedDomains(Frozen):
    """A world drawn from a model with planted shared taste (see `transfer.data.simulate`)."""

    kind: Literal["simulated"]
    name: str
    users: int = Field(ge=10)
    source_items: int = Field(ge=2)
    target_items: int = Field(ge=2)
    correlation: float = Field(ge=-1, le=1)
    shared: float = Field(ge=0, le=1)
    source_events: float = Field(gt=0)
    target_events: float = Field(gt=0)
    popularity_skew: float = Field(ge=0)
    noise: float = Field(ge=0)
    topics: int = Field(ge=1)
    price: float = Field(gt=0)
    price_spread: float = Field(ge=0)
    click_rate: float = Field(gt=0, lt=1)
    purchase_rate: float = Field(gt=0, lt=1)
    data_seed: int = Field(ge=0)
    core: int = Field(ge=0)


def _as_names(value: Any) -> Any:
    """No, one or several names."""
    if value is None:
        return ()
    return tuple(str(name) for name in (value if isinstance(value, list | tuple) else [value]))


class ExampleDomains(Frozen):
    """Labelled examples: a target and its sources, by the names that the data set `reader` has for its parts."""

    kind: Literal["examples"]
    name: str
    reader: str
    source: Annotated[tuple[str, ...], BeforeValidator(_as_names)]
    target: str
    features: str
    words: int = Field(default=1, ge=1)
    weighting: Literal["counts", "binary", "frequencies", "tfidf"] = "counts"
    standardise: Literal["none", "domain", "source"]
    strength: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _sources_are_not_the_target(self) -> ExampleDomains:
        if self.target in self.source or len(set(self.source)) < len(self.source):
            raise ValueError(
                f"domain.target={self.target} with domain.source={','.join(self.source)}: name each domain once"
            )
        return self


Fraction = Annotated[float, Field(gt=0, lt=1)]


class ExampleSplit(Frozen):
    """What is known of labelled examples; drawn by `seed`, which is independent of the run's seed."""

    name: Literal["examples"]
    seed: int = Field(ge=0)
    stop: float = Field(ge=0, lt=1)
    test: Fraction
    transductive: bool
    per_class: int | None = Field(default=None, ge=1)
    target_labels: int | Literal["all"] = Field(union_mode="left_to_right")
    valid: Fraction

    @field_validator("target_labels")
    @classmethod
    def _one_label_cannot_be_split(cls, value: int | str) -> int | str:
        if isinstance(value, int) and (value < 0 or value == 1):
            raise ValueError("give 0 (an unlabelled target), 2 or more per class (some of them select), or all")
        return value


class Split(Frozen):
    """How events are hidden; `seed` draws the split and is independent of the run's seed."""

    name: Literal["cold_start", "ratio", "leave_one_out", "global_time", "files"]
    seed: int = Field(ge=0)
    stop: Fraction
    beta: Fraction | None = None
    valid: Fraction | None = None
    test: Fraction | None = None
    dir: str | None = None
    valid_users: str | None = None
    test_users: str | None = None

    @model_validator(mode="after")
    def _parts_leave_something_to_train_on(self) -> Split:
        hidden = (self.beta or self.test or 0) + (self.valid or 0)
        if hidden >= 1:
            raise ValueError(f"hides {hidden:.2f} of the data; beta/test plus valid must be below 1")
        return self


class Task(Frozen):
    """What is predicted and how it is scored."""

    name: str
    positives: bool = False
    k: tuple[int, ...] = ()
    select: str
    loss: str
    negatives: int = Field(default=0, ge=0)
    sampled: int = Field(default=0, ge=0)
    l2: float = Field(ge=0)


class Model(Frozen):
    """The network or factorisation; `init` is the standard deviation of its initial weights."""

    name: str
    dim: int = Field(default=1, ge=1)
    init: float = Field(default=0.1, gt=0)


class Method(BaseModel):
    """How knowledge travels; a method module refines this with a `Settings` class of its own."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str

    if TYPE_CHECKING:  # the settings of methods, which only their own modules know

        def __getattr__(self, key: str) -> Any: ...


class Train(Frozen):
    """The budget of every gradient stage and how its replicas run."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    replicas: Literal["auto", "vmap", "map", "loop"]
    checkpoint_seconds: float = Field(ge=0)
    progress: bool


class Config(Frozen):
    """One run. Everything is static but `seed` and `hp`, which may differ between replicas of one program."""

    domain: Annotated[FileDomains | SimulatedDomains | ExampleDomains, Field(discriminator="kind")]
    split: Annotated[Split | ExampleSplit, Field(discriminator="name")]
    task: Task
    model: Model
    method: SerializeAsAny[Method]  # with the settings of its subclass, or programs of different settings are mixed up
    train: Train
    track: Literal["none", "wandb"]
    data_dir: str
    resume: bool
    seed: int = Field(ge=0, lt=2**32)
    hp: dict[str, float]

    @field_validator("hp", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        for key, number in dict(value).items():
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"hp.{key}={number!r} is not a finite number")
        return value

    def static(self) -> dict[str, Any]:
        """Everything that decides the compiled program, as plain JSON values."""
        return self.model_dump(mode="json", exclude={"seed", "hp", "resume", "track"})

    def program_key(self) -> str:
        """Equal keys mean one compiled program: the static part and the names (not the values) of hp."""
        return json.dumps([self.static(), sorted(self.hp)], sort_keys=True)

    def run_id(self, fingerprint: str) -> str:
        """Identity of a run: hash of configuration, hp, seed and the data's fingerprint (for paths and split)."""
        static = {key: value for key, value in self.static().items() if key not in ("data_dir", "domain", "split")}
        text = json.dumps([static, self.domain.name, self.hp, self.seed, fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


FILE_PATHS, SPLIT_PATHS = ("path", "items"), ("dir", "valid_users", "test_users")


def parse(raw: DictConfig | Mapping[str, Any]) -> Config:
    """Turn a composed configuration into a `Config`. Raises TransferError, one line naming the key and the remedy."""
    plain = OmegaConf.to_container(raw, resolve=True, throw_on_missing=False) if isinstance(raw, DictConfig) else raw
    assert isinstance(plain, Mapping)
    values = {key: value for key, value in plain.items() if key != "hydra"}
    if isinstance(values.get("track"), Mapping):
        values["track"] = values["track"]["name"]
    try:
        return _anchored(Config.model_validate(values))
    except ValidationError as error:
        raise TransferError(describe(error)) from None


def _anchored(config: Config) -> Config:
    """The same with absolute paths, so that a run folder can be read from anywhere."""
    data_dir = Path(config.data_dir).expanduser().resolve()

    def absolute(part: Any, keys: tuple[str, ...]) -> Any:
        """Paths that are found from here and not in data_dir."""
        given = {key: path for key in keys if (path := getattr(part, key, None))}
        here = {key: str(Path(path).resolve()) for key, path in given.items() if Path(path).exists()}
        return part.model_copy(update={key: path for key, path in here.items() if not (data_dir / given[key]).exists()})

    update: dict[str, Any] = {"data_dir": str(data_dir), "split": absolute(config.split, SPLIT_PATHS)}
    if isinstance(config.domain, FileDomains):
        target = absolute(config.domain.target, FILE_PATHS)
        source = tuple(absolute(files, FILE_PATHS) for files in config.domain.source)
        update["domain"] = config.domain.model_copy(update={"target": target, "source": source})
    return config.model_copy(update=update)


def describe(error: ValidationError, prefix: str = "") -> str:
    """The first problem of a pydantic error as one line: key, value, what is wrong, how many more there are."""
    first, count = error.errors()[0], error.error_count()
    place = [part for i, part in enumerate(first["loc"]) if i != 1 or first["loc"][0] not in ("domain", "split")]  # no tag
    key = prefix + ".".join(str(part) for part in place)
    message = first["msg"].removeprefix("Value error, ")
    if first["input"] == "???":
        message = f"must be given: write {key}=VALUE"
    elif first["type"] == "extra_forbidden":
        message = "no such key here; remove it or check its spelling"
    elif not isinstance(first["input"], dict):
        message = f"{first['input']!r}: {message}"
    return f"{key}: {message}" + (f" (and {count - 1} more)" if count > 1 else "")

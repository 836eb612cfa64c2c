"""The schemas of a world: where its domains come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from transfer.config.features import KINDS, TEXT, Block, ByName, Modality, Named, Place, Planted, Texts
from transfer.config.frozen import Frozen
from transfer.config.parts import Where, domain_name, of_one_file, one_target, said


def _as_values(value: Any) -> Any:
    """No, one or several values of a cell, as their texts."""
    if value is None:
        return ()
    return tuple(
        f"{v:g}" if isinstance(v, float) else str(v).strip()
        for v in (value if isinstance(value, list | tuple) else [value])
    )


class ItemTable(Frozen):
    """A table of items, its column with their ids (null: recognised), how it is written (null: as the interactions are),
    and where their blocks of features are; genres (null: recognised) and price, which lists are measured by."""

    path: str | None = None
    item: str | None = None
    columns: tuple[str, ...] = ()
    header: bool | None = None
    separator: str | None = None
    quoted: bool | None = None
    encoding: str | None = None
    features: Named[Place] = ByName()
    genres: Place | None = None
    price: Place | None = None


def _as_table(value: Any) -> Any:
    """A plain path is a table; one of which nothing is said is none."""
    if isinstance(value, dict):
        return value if any(value.get(key) for key in ("path", "features", "genres", "price")) else None
    return {"path": value} if isinstance(value, str) else value


class Files(Frozen):
    """Where one domain's interactions and item table are, and what their columns are called (null: recognised).

    where: the rows of the file that are the domain's, {column: value or values}. each: a column of the file, every value of
    which is a domain of its own, with that value as its name.
    path: a file, a pattern of names for several, or a folder of Parquet files.
    columns: the names of all columns of the interactions, in a file that begins with its first row (with header: true they
    take the place of those in its first line). unrated: ratings that mean "not rated": the event stays, without a rating.
    without_user: what becomes of rows without a user. disliked: the rating up to which an event counts as disliked (null:
    `positive` mirrored on the scale).
    """

    path: str
    name: Annotated[str, AfterValidator(domain_name)] = ""
    where: Where = ()
    each: str | None = None
    items: Annotated[ItemTable | None, BeforeValidator(_as_table)] = None
    user: str | None = None
    item: str | None = None
    rating: str | None = None
    time: str | None = None
    time_format: str | None = None
    title: str | None = None
    columns: tuple[str, ...] = ()
    header: bool | None = None
    separator: str | None = None
    quoted: bool | None = None
    encoding: str = "utf-8"
    unrated: Annotated[tuple[str, ...], BeforeValidator(_as_values)] = ()
    without_user: Literal["error", "skip"] = "error"
    scale: tuple[float, float] | None = None
    positive: float | None = None
    disliked: float | None = None
    texts: tuple[Texts, ...] = ()

    @model_validator(mode="after")
    def _nothing_is_liked_and_disliked(self) -> Self:
        if self.disliked is not None and (self.positive is None or self.disliked >= self.positive):
            liked = "nothing is said of what is liked" if self.positive is None else f"{self.positive:g} is liked"
            raise ValueError(f"disliked={self.disliked:g}, and {liked}; write disliked: RATING below positive: RATING")
        return self


def _as_files(value: Any) -> Any:
    """A plain path is a domain of which nothing else is said."""
    files = {"path": value} if isinstance(value, str) else value
    if isinstance(files, dict) and files.get("path", "???") in ("???", None):
        raise ValueError("must be given: a file, such as books.inter, or {path: books.csv, user: reader, item: isbn}")
    return files


def listed(value: Any, one: Callable[[Any], Any]) -> Any:
    """No, one or several domains; a path of null is none, and a list in its place has all that is said of its domains."""
    if isinstance(value, dict) and (value.get("path", "") is None or isinstance(value["path"], list | tuple)):
        value = value["path"]
    if value is None:
        return ()
    return tuple(one(v) for v in value) if isinstance(value, list | tuple) else (one(value),)


def _as_list(value: Any) -> Any:
    return listed(value, _as_files)


class WithFeatures(Frozen):
    """Worlds whose items have blocks of features; `text_dim` is the short way to say {text: {kind: words, dim: …}}."""

    text_dim: int = Field(ge=0)

    @property
    def blocks(self) -> dict[str, Block]:
        """The blocks by name, which is one space of all domains."""
        words = {TEXT: Block(kind="words", dim=self.text_dim)} if self.text_dim else {}
        return words | self.further_blocks()

    def further_blocks(self) -> dict[str, Block]:
        """Those beside the words of the texts."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _one_block_of_a_name(self) -> Self:
        if self.text_dim and TEXT in self.further_blocks():
            raise ValueError(f"text_dim={self.text_dim} and features.{TEXT} make two blocks of one name; write text_dim=0")
        return self


class FileDomains(WithFeatures):
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
    same_pairs: float = Field(default=0.1, ge=0, le=1)
    same_titles: bool = False
    core: int = Field(ge=0)
    features: Named[Block] = ByName()

    def further_blocks(self) -> dict[str, Block]:
        return self.features

    @model_validator(mode="after")
    def _titles_make_ids(self) -> FileDomains:
        if self.same_titles and not self.global_ids:
            raise ValueError("same_titles: true gives items of one title one id in all domains; write global_ids: true too")
        return self

    @model_validator(mode="after")
    def _places_are_of_blocks(self) -> FileDomains:
        for files in (self.target, *self.source):
            for name in files.items.features if files.items else ():
                if name not in self.blocks:
                    raise ValueError(
                        f"{files.name or files.path}: items.features.{name} says where a block is, and not what it is; "
                        f"write domain.features.{name}=KIND: {', '.join(KINDS)}"
                    )
        return self

    @model_validator(mode="before")
    @classmethod
    def _names_are_parts_of_a_file(cls, value: Any) -> Any:
        return of_one_file(value)

    @field_validator("target")
    @classmethod
    def _there_is_one_target(cls, target: Files) -> Files:
        one_target(target.each)
        return target

    @model_validator(mode="after")
    def _sources_are_other_rows(self) -> FileDomains:
        rows = self.target.path, self.target.where
        if self.target.where and rows in [(source.path, source.where) for source in self.source if source.each is None]:
            raise ValueError(f"a source has the rows of the target ({said(self.target.where)}); name each part once")
        return self


class SimulatedDomains(WithFeatures):
    """A world drawn from a model with planted shared taste (see `transfer.data.interactions.simulate`)."""

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
    capacity: int | None = Field(default=None, ge=1)
    core: int = Field(ge=0)
    features: Named[Planted] = ByName()

    def further_blocks(self) -> dict[str, Block]:
        return {name: Block(kind="vectors") for name in self.features}


def _as_names(value: Any) -> Any:
    """No, one or several names."""
    if value is None:
        return ()
    return tuple(str(name) for name in (value if isinstance(value, list | tuple) else [value]))


class LabelledDomains(Frozen):
    """Worlds of labelled examples: how features are made of what their domains hold.

    modalities: views of the same examples by name, each read with settings of its own, side by side in x; none: one view.
    """

    kind: str
    name: str
    features: str
    words: int = Field(default=1, ge=1)
    weighting: Literal["counts", "binary", "frequencies", "tfidf"] = "counts"
    standardise: Literal["none", "domain", "source", "auto"]
    layers: int = Field(default=5, ge=1)
    corruption: float = Field(default=0.5, gt=0, lt=1)
    side: int = Field(default=32, ge=1)
    tokenizer: str | None = None
    encoder: str | None = None
    length: int = Field(default=128, ge=2)
    modalities: Named[Modality] = ByName()

    @model_validator(mode="after")
    def _tokens_are_no_measurements(self) -> Self:
        if self.features == "tokens" and self.tokenizer is None:
            raise ValueError("domain.features=tokens: write domain.tokenizer=FOLDER (with tokenizer.json) or minilm")
        if self.features == "encoded" and self.encoder is None:
            raise ValueError(
                "domain.features=encoded: write domain.encoder=FOLDER (of a BERT), minilm, wordllama, or lite0 (images)"
            )
        if self.features == "tokens" and self.standardise not in ("none", "auto"):
            raise ValueError(f"domain.standardise={self.standardise}: tokens have no mean; write domain.standardise=none")
        return self


class ExampleDomains(LabelledDomains):
    """A target and its sources, by the names that the data set `reader` has for its parts.

    The reader's module may refine this with a `Settings` class of its own.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    kind: Literal["examples"]
    reader: str
    source: Annotated[tuple[str, ...], BeforeValidator(_as_names)]
    target: str
    strength: float = Field(default=1.0, ge=0)
    points: int = Field(default=300, ge=20)
    angle: float = 35.0

    @model_validator(mode="after")
    def _sources_are_not_the_target(self) -> ExampleDomains:
        if self.target in self.source or len(set(self.source)) < len(self.source):
            raise ValueError(
                f"domain.target={self.target} with domain.source={','.join(self.source)}: name each domain once"
            )
        return self

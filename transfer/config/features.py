"""The schemas of item features: which blocks there are, the space of each, and where a domain has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from transfer.config.frozen import Frozen

TEXT = "text"  # the block that text_dim makes, and that methods of texts read
Kind = Literal["words", "encoded", "labels", "numbers", "images", "vectors"]
KINDS: tuple[str, ...] = get_args(Kind)


class ByName(dict[str, Any]):
    """Parts by name, never changed, so that a schema with them has a hash."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items(), key=lambda item: item[0])))


def _without_none(value: Any) -> Any:
    """A part of null is none: so a world's own block is taken away."""
    return {name: part for name, part in value.items() if part is not None} if isinstance(value, dict) else value


T = TypeVar("T")
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # it stands in hp.weight_NAME
Named = Annotated[dict[Name, T], BeforeValidator(_without_none), AfterValidator(ByName)]


def _as_strings(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Block(Frozen):
    """One space of item vectors for all domains; a plain text is its kind.

    words: TF-IDF of hashed words; encoded: texts by a frozen encoder, cut to `length` tokens; labels: 1 for each label
    that two items have; numbers: columns; images: pixels of `side` × `side`; vectors: as they are given. `dim` is the width
    to which a singular value decomposition reduces them (null: 128 of words and images, the others stay as they are).
    """

    kind: Kind
    dim: int | None = Field(default=None, ge=1)
    encoder: str | None = None
    length: int = Field(default=128, ge=2)
    side: int = Field(default=32, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _a_plain_text_is_the_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _encoders_encode(self) -> Block:
        if (self.kind == "encoded") != (self.encoder is not None):
            raise ValueError("kind: encoded goes with encoder: FOLDER (of a BERT) or minilm, and no other kind has one")
        return self


class Modality(BaseModel):
    """Settings with which a modality of examples is read, in place of the domain's own; a plain text is `features`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _a_plain_text_is_the_features(cls, value: Any) -> Any:
        return {"features": value} if isinstance(value, str) else value


class Planted(Frozen):
    """A simulated block of `dim` numbers and their correlation with an item's topics, 0 … 1; a plain number is that."""

    correlation: float = Field(ge=0, le=1)
    dim: int = Field(default=16, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _a_plain_number_is_the_correlation(cls, value: Any) -> Any:
        return {"correlation": value} if isinstance(value, int | float) else value


class Columns(Frozen):
    """Columns of a file about items; `links` is a table from the domain's item ids to this file's, in its column `link`.

    by: what the column `item` holds, ids, or titles, which are compared by their words alone.
    """

    path: str | None = None
    item: str | None = None
    columns: Annotated[tuple[str, ...], BeforeValidator(_as_strings)] = ()
    by: Literal["id", "title"] = "id"
    links: str | None = None
    link: str | None = None

    @model_validator(mode="after")
    def _links_come_with_their_column(self) -> Columns:
        if (self.links is None) != (self.link is None):
            raise ValueError("give both `links` (a table of ids) and `link` (its column with this file's ids), or neither")
        return self


class Texts(Columns):
    """A file with a text per item."""

    path: str
    item: str
    columns: Annotated[tuple[str, ...], BeforeValidator(_as_strings)]


class Place(Columns):
    """Where a domain has a block: columns of its item table (a plain text is one), or of the file `path`.

    Of images `path` is the folder, with files named by item; of vectors it may be a .npy aligned with the item table's
    rows. separator: between the labels of a cell.
    """

    separator: str = Field(default="|", min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _a_plain_text_is_a_column(cls, value: Any) -> Any:
        return {"columns": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _something_is_named(self) -> Place:
        if self.path is None and not self.columns:
            raise ValueError("name a column of the item table, or a file or folder: {path: x.parquet, columns: COLUMN}")
        return self

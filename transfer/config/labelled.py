"""The schema of labelled examples in files of one's own: where each domain lies, and what its columns are called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from transfer.config.domains import LabelledDomains, listed
from transfer.config.frozen import Frozen
from transfer.config.parts import Where, domain_name, one_target, said


def _as_columns(value: Any) -> Any:
    """No, one or several columns."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _as_file(value: Any) -> Any:
    """A plain path is a domain of which nothing else is said."""
    file = {"path": value} if isinstance(value, str) else value
    if isinstance(file, dict) and file.get("path", "???") in ("???", None):
        raise ValueError("must be given: a file, such as reviews.csv, or {path: reviews.csv, text: review, label: genre}")
    return file


def _as_files(value: Any) -> Any:
    return listed(value, _as_file)


Columns = Annotated[tuple[str, ...], BeforeValidator(_as_columns)]


class ExampleFile(Frozen):
    """One domain: a table (.csv, .tsv, .parquet), .npz, .svmlight, idx, or a folder with a folder of images for each class.

    label, text, x, image: its columns (null: recognised); text: of several the words side by side; x: numbers, or one
    column of lists. labels: what stands between several labels of one example. where, each, columns: as of interactions.
    """

    path: str
    name: Annotated[str, AfterValidator(domain_name)] = ""
    where: Where = ()
    each: str | None = None
    label: str | None = None
    labels: str | None = Field(default=None, min_length=1)
    text: Columns = ()
    x: Columns = ()
    image: str | None = None
    columns: tuple[str, ...] = ()
    separator: str | None = None
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _features_are_of_one_kind(self) -> ExampleFile:
        if self.text and self.x:
            raise ValueError("`text` and `x` are two kinds of features; name one of them")
        return self


class ExampleFiles(LabelledDomains):
    """A target and any number of sources, from files; features: auto is what the target's file has."""

    kind: Literal["example_files"]
    features: Literal["auto", "text", "tokens", "encoded", "vectors", "counts", "images"] = "auto"
    target: Annotated[ExampleFile, BeforeValidator(_as_file)]
    source: Annotated[tuple[ExampleFile, ...], BeforeValidator(_as_files)]

    @field_validator("target")
    @classmethod
    def _there_is_one_target(cls, target: ExampleFile) -> ExampleFile:
        one_target(target.each)
        return target

    @model_validator(mode="after")
    def _sources_are_other_examples(self) -> ExampleFiles:
        rows = [(one.path, one.where, one.each) for one in (self.target, *self.source)]
        for i, (path, where, each) in enumerate(rows):
            if (path, where, each) in rows[:i]:
                part = f" ({said(where)})" if where else ""
                raise ValueError(
                    f"{path}{part} is named twice; name each domain once, and parts of one file with "
                    "where: {COLUMN: VALUE} or each: COLUMN"
                )
        return self

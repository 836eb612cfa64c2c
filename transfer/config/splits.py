"""The schemas of a split: what is hidden of events or of labels, and what of the rest selects."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from transfer.config.frozen import Frozen

Fraction = Annotated[float, Field(gt=0, lt=1)]
Selecting = Annotated[float, Field(ge=0, lt=1)]  # 0: nothing selects, and what would have is learnt from


class Folds(Frozen):
    """Cross-validation: what is not test in `folds` equal parts, of which part `fold` (0, 1, ...) selects in place of
    the share `valid`. From `folds` on they are those of another division, which labelled examples alone have.
    """

    folds: int | None = Field(default=None, ge=2)
    fold: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _a_fold_is_one_of_the_folds(self) -> Self:
        if (self.folds is None) != (self.fold is None) and not self.of_all:
            raise ValueError("split.folds and split.fold go together: split.folds=5 split.fold=0,1,2,3,4")
        return self

    @property
    def of_all(self) -> bool:
        """Whether nothing is held out of what is not test, in a world of the shape of its folds."""
        return False

    def of(self, count: int) -> slice:
        """Where the part that selects stands among `count` things in random order; only with folds."""
        assert self.folds is not None
        assert self.fold is not None
        part = self.fold % self.folds
        return slice(part * count // self.folds, (part + 1) * count // self.folds)


class ExampleSplit(Folds):
    """What is known of labelled examples; drawn by `seed`, which is independent of the run's seed."""

    name: Literal["examples"]
    seed: int = Field(ge=0)
    stop: float = Field(ge=0, lt=1)
    test: Fraction
    transductive: bool
    per_class: int | None = Field(default=None, ge=1)
    target_labels: int | Literal["all"] = Field(union_mode="left_to_right")
    valid: Selecting

    @field_validator("target_labels")
    @classmethod
    def _one_label_cannot_be_split(cls, value: int | str) -> int | str:
        if isinstance(value, int) and (value < 0 or value == 1):
            raise ValueError("give 0 (an unlabelled target), 2 or more per class (some of them select), or all")
        return value


FOLDED = ("cold_start", "cold_items", "ratio", "few_shot")  # rules that draw who or what selects


class Split(Folds):
    """How events are hidden; `seed` draws the split and is independent of the run's seed."""

    name: Literal["cold_start", "cold_items", "ratio", "leave_one_out", "few_shot", "global_time", "fold_in", "files"]
    seed: int = Field(ge=0)
    stop: Fraction
    beta: Fraction | None = None
    valid: Selecting | None = None
    test: Fraction | None = None
    keep: int | None = Field(default=None, ge=0)
    share: float | None = Field(default=None, gt=0, le=1)
    dir: str | None = None
    valid_users: str | None = None
    test_users: str | None = None
    candidates: str | None = None

    @property
    def of_all(self) -> bool:
        return self.folds is not None and self.fold is None and self.valid == 0

    @model_validator(mode="after")
    def _folds_have_an_effect(self) -> Split:
        if self.folds is not None and (self.name not in FOLDED or self.test_users):
            told = "beside split.test_users" if self.test_users else f"with split={self.name}: take {', '.join(FOLDED)}"
            raise ValueError(f"split.folds={self.folds} has no effect {told}")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"split.fold={self.fold}: the last of {self.folds} folds is {self.folds - 1}")
        return self

    @model_validator(mode="after")
    def _parts_leave_something_to_train_on(self) -> Split:
        hidden = (self.beta or self.test or 0) + (self.valid or 0)
        if hidden >= 1:
            raise ValueError(f"hides {hidden:.2f} of the data; beta/test plus valid must be below 1")
        return self

"""What a module of a method or model declares beside its code; a configuration file of its own is not needed.

NEEDS: what it asks of task and world. HP = {name: Range}: its numbers under `hp`. Settings: its keys, with their defaults.
DEFAULTS: what else it chooses where nothing is said: {"model": "mlp", "train": {"keep": "last"}}, a name being the choice
of a group and a mapping the values in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from transfer.config.schema import Method, Model


KINDS = {"method": "methods", "model": "models"}  # groups of the configuration that are declared so, and where they lie


class Needs(NamedTuple):
    """What a method asks of the task and the world; checked before anything is compiled.

    same_labels: the sources have the target's classes; target_labels: some target examples are labelled;
    representation: the model of examples has a body that learns; next_item: it fits next-item models too.
    """

    tasks: tuple[Literal["rating", "ranking", "classification", "regression"], ...] = ("rating", "ranking")
    source: bool = False
    shared_users: bool = False
    texts: bool = False
    same_labels: bool = False
    target_labels: bool = False
    representation: bool = False
    next_item: bool = False


class Range(NamedTuple):
    """A number of a method under `hp`: its default, and the values that make sense, low ≤ value ≤ high.

    above: low itself is excluded; below: high is. A default of "${task.l2}" is what the task says.
    by_source: NAME_1, NAME_2, … may be given too, one for each source, in the same range; by_block: NAME_BLOCK, one for
    each block of item features; by_member: NAME_1, NAME_2, …, one for each member of an ensemble.
    """

    default: float | str
    low: float = float("-inf")
    high: float = float("inf")
    above: bool = False
    below: bool = False
    by_source: bool = False
    by_block: bool = False
    by_member: bool = False

    def refusal(self, value: float) -> str | None:
        """What is wrong with a value, in words; None where nothing is."""
        enough = value > self.low if self.above else value >= self.low
        if enough and (value < self.high if self.below else value <= self.high):
            return None
        bounds = [f"{'above' if self.above else 'at least'} {self.low:g}"] if self.low > float("-inf") else []
        bounds += [f"{'below' if self.below else 'at most'} {self.high:g}"] if self.high < float("inf") else []
        return f"must be {' and '.join(bounds)}"


Numbers = Mapping[str, Range]

RATE = Range(0.003, low=0)  # a learning rate; 0: nothing moves
L2 = Range("${task.l2}", low=0)  # the strength of the penalty on weights, or of the prior


def default_of(number: Range, config: Any) -> float:
    """A number's default in a configuration, where "${task.l2}" is the value that stands there."""
    if not isinstance(number.default, str):
        return number.default
    return float(reduce(getattr, number.default.strip("${}").split("."), config))


def configuration(group: str, name: str, module: Any) -> dict[str, Any]:
    """What a module declares, as its configuration file would say it."""
    from transfer.config.schema import Method, Model  # late: this file needs little, and `--help` reads it

    usual: type[Method | Model] = Method if group == "method" else Model
    settings = getattr(module, "Settings", usual).model_fields
    shared = {key: field.get_default() for key, field in usual.model_fields.items() if not field.is_required()}
    own = {
        key: "???" if field.is_required() else field.get_default(call_default_factory=True)
        for key, field in settings.items()
        if key != "name" and (key not in shared or field.get_default() != shared[key])
    }
    chosen = getattr(module, "DEFAULTS", {})
    return {
        "defaults": [*({f"override /{key}": value} for key, value in chosen.items() if isinstance(value, str)), "_self_"],
        group: {"name": name, **own},
        "hp": {key: number.default for key, number in getattr(module, "HP", {}).items()},
        **{key: value for key, value in chosen.items() if not isinstance(value, str)},
    }

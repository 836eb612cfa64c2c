"""What a module of a method or model declares beside its code: NEEDS, what it asks of task and world; HP, its numbers."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Needs(NamedTuple):
    """What a method asks of the task and the world; checked before anything is compiled.

    same_labels: the sources have the target's classes; target_labels: some target examples are labelled;
    representation: the model of examples has a body that learns; next_item: it fits next-item models too.
    """

    tasks: tuple[Literal["rating", "ranking", "classification"], ...] = ("rating", "ranking")
    source: bool = False
    shared_users: bool = False
    texts: bool = False
    same_labels: bool = False
    target_labels: bool = False
    representation: bool = False
    next_item: bool = False


class Range(NamedTuple):
    """A number of a method under `hp`: its default, and the values that make sense, low ≤ value ≤ high.

    above: low itself is excluded. A default of "${task.l2}" is what the task says.
    """

    default: float | str
    low: float = float("-inf")
    high: float = float("inf")
    above: bool = False

    def refusal(self, value: float) -> str | None:
        """What is wrong with a value, in words; None where nothing is."""
        if self.low < value <= self.high or (value == self.low and not self.above):
            return None
        bounds = [f"{'above' if self.above else 'at least'} {self.low:g}"] if self.low > float("-inf") else []
        bounds += [f"at most {self.high:g}"] if self.high < float("inf") else []
        return f"must be {' and '.join(bounds)}"


Numbers = dict[str, Range]

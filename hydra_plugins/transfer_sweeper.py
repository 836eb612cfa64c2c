"""The sweeper of `-m`: Hydra's grid without its second composition of every job, and with `retry=failed,diverged`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

Spaces = dict[str, list[str]]  # method -> KEY=interval(...), tag(log, interval(...)), choice(...) or range(...)


class TransferSweeper(BasicSweeper):
    """Every combination of the given values."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """The launcher composes and says what is wrong, job by job."""

    def sweep(self, arguments: list[str]) -> Any:
        """As Hydra does; the list of `retry` is one value, not a choice."""
        words = [_one_value(word) for word in arguments]
        if self.config and self.config.dry_run:
            from transfer.sweep.dry_run import dry_run

            sys.exit(dry_run(self, words))
        return super().sweep(words)

    @staticmethod
    def split_arguments(overrides: list[Any], max_batch_size: int | None) -> list[list[list[str]]]:
        """Hydra's combinations, without those of a grid in which a domain would be its own source."""
        from transfer.sweep.grid import combinations

        return combinations(overrides, max_batch_size)


def _one_value(word: str) -> str:
    key, _, value = word.partition("=")
    return f"retry=[{value}]" if key == "retry" and "," in value and not value.startswith("[") else word


class FairSweeper(TransferSweeper):
    """Tunes every combination with its own search space and the same budget, then tests the chosen settings."""

    def __init__(
        self,
        spaces: dict[str, dict[str, str]],
        trials: int,
        batch: int,
        seeds: int,
        sampler_seed: int,
        rungs: int,
        reduction: int,
        folds: int,
        **grid: Any,
    ):
        super().__init__(**grid)
        self.spaces, self.trials, self.batch, self.seeds = spaces, trials, batch, seeds
        self.sampler_seed, self.rungs, self.reduction, self.folds = sampler_seed, rungs, reduction, folds

    def sweep(self, arguments: list[str]) -> Any:
        from transfer.sweep.fair import fair

        return fair(self, [_one_value(word) for word in arguments])


class AutoSweeper(TransferSweeper):
    """Cross-validates candidates within a budget, chooses one or no transfer at all, and tests the choice once."""

    def __init__(self, folds: int, divisions: int, members: int, candidates: dict[str, list[str]], **grid: Any):
        super().__init__(**grid)
        self.folds, self.divisions, self.members, self.candidates = folds, divisions, members, candidates

    def sweep(self, arguments: list[str]) -> Any:
        from transfer.auto.search import auto

        return auto(self, arguments)

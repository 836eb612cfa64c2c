"""Nested programs: a program as part of another one, with stages of other names, a world and numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transfer.program import AnyWorld, Done, Fit, Hp, Program, Solve, Turn


@dataclass(frozen=True)
class Seen(Mapping[str, Any]):
    """A mapping as a program inside another one sees it; it reads no more than it is asked for."""

    find: Callable[[str], Any]
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        return self.find(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def nested(
    program: Program,
    prefix: str,
    view: Callable[[AnyWorld], AnyWorld] = lambda world: world,
    numbers: Callable[[Hp], Hp] = lambda hp: hp,
) -> Program:
    """A program as part of another: its stages are called `prefix` + name, it sees view(world) and numbers(hp)."""

    names = tuple(stage.name for stage in program.stages)

    def inner_done(done: Done) -> Done:
        return Seen(lambda name: done[prefix + name], names)

    def without_hp(function: Any) -> Any:
        """function(world, done, key, ...)."""
        return function and (lambda world, done, *rest: function(view(world), inner_done(done), *rest))

    def with_hp(function: Any) -> Any:
        """function(world, done, hp, ...)."""
        return function and (lambda world, done, hp, *rest: function(view(world), inner_done(done), numbers(hp), *rest))

    def inner_loss(loss: Any) -> Any:
        """loss(params, done, batch, hp, key, progress)."""
        return lambda params, done, batch, hp, *rest: loss(params, inner_done(done), batch, numbers(hp), *rest)

    def inner_turn(turn: Turn) -> Turn:
        rate = turn.rate and (lambda hp, progress: turn.rate(numbers(hp), progress))  # type: ignore[misc]
        return turn._replace(loss=inner_loss(turn.loss), rate=rate)

    def inner_stage(stage: Fit | Solve) -> Fit | Solve:
        if isinstance(stage, Solve):
            return Solve(prefix + stage.name, with_hp(stage.solve))
        return stage._replace(
            name=prefix + stage.name,
            init=without_hp(stage.init),
            batch=without_hp(stage.batch),
            batch_at=without_hp(stage.batch_at),
            loss=inner_loss(stage.loss),
            size=lambda world: stage.size(view(world)),
            scores=with_hp(stage.scores),
            heldout=lambda world: stage.heldout(view(world)),
            optimizer=lambda hp: stage.optimizer(numbers(hp)),
            turns=tuple(inner_turn(turn) for turn in stage.turns),
            watch=with_hp(stage.watch),
            revised=with_hp(stage.revised),
        )

    return Program(
        tuple(map(inner_stage, program.stages)), with_hp(program.scores), with_hp(program.features), program.folds_in
    )

"""A program as part of another one."""

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

    def own(done: Done) -> Done:
        there = tuple(stage.name for stage in program.stages)
        return Seen(lambda name: done[prefix + name], there)

    def inside(function: Any) -> Any:
        """function(world, done, *rest) as the whole program calls it."""
        return function and (lambda world, done, *rest: function(view(world), own(done), *rest))

    def counted(function: Any) -> Any:
        """function(world, done, hp)."""
        return function and (lambda world, done, hp: function(view(world), own(done), numbers(hp)))

    def turn_of(turn: Turn) -> Turn:
        rate = turn.rate and (lambda hp, progress: turn.rate(numbers(hp), progress))  # type: ignore[misc]
        return turn._replace(loss=loss_of(turn.loss), rate=rate)

    def loss_of(loss: Any) -> Any:
        return lambda params, batch, key, hp, progress: loss(params, batch, key, numbers(hp), progress)

    def stage_of(stage: Fit | Solve) -> Fit | Solve:
        if isinstance(stage, Solve):
            solve = stage.solve
            return Solve(prefix + stage.name, lambda w, done, hp, key: solve(view(w), own(done), numbers(hp), key))
        penalty = stage.penalty
        return stage._replace(
            name=prefix + stage.name,
            init=inside(stage.init),
            batch=inside(stage.batch),
            batch_at=inside(stage.batch_at),
            loss=loss_of(stage.loss),
            size=lambda world: stage.size(view(world)),
            scores=counted(stage.scores),
            heldout=lambda world: stage.heldout(view(world)),
            optimizer=lambda hp: stage.optimizer(numbers(hp)),
            penalty=penalty and (lambda params, done, hp: penalty(params, own(done), numbers(hp))),
            turns=tuple(turn_of(turn) for turn in stage.turns),
            watch=counted(stage.watch),
        )

    return Program(
        tuple(map(stage_of, program.stages)), counted(program.scores), counted(program.features), program.folds_in
    )

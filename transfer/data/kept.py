"""What was made from files is kept while they are as they were: a file that is written anew is read anew."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

State = tuple[int, int, int] | None  # of a file: size, time of change of its content and of its place in ns; None: no file
P = ParamSpec("P")
R = TypeVar("R")
_READ: ContextVar[dict[Path, State] | None] = ContextVar("files read", default=None)


def noted(path: Path) -> Path:
    """The path itself, with a note that what is being made depends on this file, or on its absence."""
    read = _READ.get()
    if read is not None:
        read.setdefault(path.absolute(), state_of(path))
    return path


def kept(size: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keeps the last `size` results of a function by its arguments, as long as no file that it noted has changed."""

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        there: OrderedDict[object, tuple[R, dict[Path, State]]] = OrderedDict()

        @wraps(make)
        def known(*args: P.args, **kwargs: P.kwargs) -> R:
            key = (args, tuple(sorted(kwargs.items())))
            if key in there and all(state_of(path) == state for path, state in there[key][1].items()):
                there.move_to_end(key)
            else:
                with noting() as read:
                    there[key] = make(*args, **kwargs), read
                while len(there) > size:
                    there.popitem(last=False)
            result, files = there[key]
            _pass_on(files)
            return result

        known.cache_clear = there.clear  # type: ignore[attr-defined]  # as functools has it
        return known

    return decorate


@contextmanager
def noting() -> Iterator[dict[Path, State]]:
    """The files that are noted inside, with their states; whoever notes around it learns of them too."""
    read: dict[Path, State] = {}
    token = _READ.set(read)
    try:
        yield read
    finally:
        _READ.reset(token)
        _pass_on(read)


def _pass_on(files: dict[Path, State]) -> None:
    outer = _READ.get()
    if outer is not None:
        outer.update(files)


def state_of(path: Path) -> State:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns

"""What a person sees while a run trains, and how Ctrl-C ends it with nothing lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

console = Console(stderr=True)
FIRST, EVERY = 2.0, 10.0  # seconds of a stage before its first line, and between two, where nobody sees a bar


def wide_console() -> Console:
    """What tables are printed on: the terminal, or 180 columns where nobody looks."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=180)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; not an Exception, so that nothing on the way up mistakes it for a failed run."""


def say(line: str, style: str | None = None) -> None:
    """Print one line as it is: names, paths and errors of others are no markup."""
    console.print(line, style=style, soft_wrap=True, markup=False, highlight=False)


Handler = Callable[[int, Any], None]
_requested = threading.Event()


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Give SIGINT and SIGTERM a handler, where a signal is not ignored; only the main thread can."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT or SIGTERM raises Interrupted at once: outside of training, where no more than seconds are lost."""

    def stop(number: int, frame: Any) -> None:
        raise Interrupted

    with handling(stop):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """The first SIGINT or SIGTERM is a request that `interrupted` tells, so that training ends a block; the second one acts
    at once. Raises Interrupted at the end where nobody has heeded the request.
    """
    _requested.clear()

    def ask(number: int, frame: Any) -> None:
        if _requested.is_set():
            raise Interrupted
        _requested.set()
        say("stopping after this block; press again to stop at once", style="yellow")

    with handling(ask):
        yield
    if _requested.is_set():
        raise Interrupted


def interrupted() -> bool:
    """Whether a stop was asked for."""
    return _requested.is_set()


class Progress:
    """How far a gradient stage is, with loss, metric and steps per second: a bar on a terminal (with the time left) and in
    a notebook; elsewhere a line after FIRST seconds, and then one every EVERY."""

    def __init__(self, name: str, metric: str, shown: bool):
        self._name, self._metric = name, metric
        self._tell: Callable[[int, int, str], None] = self._lines if shown else _nothing
        if shown and console.is_jupyter:
            self._tell = _cell(name)
        self._bar: Bar | None = None
        if shown and console.is_terminal:
            columns = [TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[report]}")]
            self._bar = Bar(*columns, TimeRemainingColumn(), console=console, transient=True)
            task = self._bar.add_task(name, total=None, report="compiling")
            self._tell = partial(_move, self._bar, task)
        self._began: tuple[float, int] | None = None
        self._due = time.perf_counter() + FIRST

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, records: list[dict[str, Any]], step: int, total: int) -> None:
        """Show the mean of the running replicas after a block."""
        now = time.perf_counter()
        self._began = self._began or (now, step)
        began, first = self._began
        speed = (step - first) / (now - began) if step > first else 0.0
        running = [record for record in records if record]
        loss = sum(record["loss"] for record in running) / max(len(running), 1)
        metric = sum(record[self._metric] for record in running) / max(len(running), 1)
        self._tell(step, total, f"loss {loss:.4f}  {self._metric} {metric:.4f}  {speed:,.0f} steps/s")

    def _lines(self, step: int, total: int, report: str) -> None:
        if (now := time.perf_counter()) >= self._due:
            self._due = now + EVERY
            say(f"{self._name}: step {step:,} of at most {total:,}  {report}")


def _nothing(step: int, total: int, report: str) -> None:
    pass


def _move(bar: Bar, task: TaskID, step: int, total: int, report: str) -> None:
    bar.update(task, completed=step, total=total, report=report)


def _cell(name: str) -> Callable[[int, int, str], None]:
    """A bar in the cell of a notebook, by its own display: no widgets are needed."""
    from IPython.display import display

    handle = display({"text/plain": f"{name}: compiling"}, raw=True, display_id=True)

    def tell(step: int, total: int, report: str) -> None:
        text = f"{name}: step {step:,} of at most {total:,}  {report}"
        bar = f'<progress value="{step}" max="{total}"></progress> {escape(text)}'
        handle.update({"text/html": bar, "text/plain": text}, raw=True)

    return tell

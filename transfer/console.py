"""What a person sees while a run trains, and how Ctrl-C ends it with nothing lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
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


Tell = Callable[[int, int, str], None]
End = Callable[[], None]


class Progress:
    """How far a gradient stage is, with loss, metric and steps per second: a bar on a terminal (with the time left) and in
    a notebook, gone at its end; elsewhere a line after FIRST seconds, and then one every EVERY."""

    def __init__(self, name: str, metric: str, shown: bool):
        self._metric, self._began = metric, (0.0, 0)
        kind = _bar if console.is_terminal else _cell if console.is_jupyter else _lines
        how: tuple[Tell, End] = kind(name) if shown else (_nothing, _nothing)
        self._tell, self._end = how

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def update(self, records: list[dict[str, Any]], step: int, total: int) -> None:
        """Show the mean of the running replicas after a block."""
        now = time.perf_counter()
        self._began = self._began if self._began[1] else (now, step)
        began, first = self._began
        speed = (step - first) / (now - began) if step > first else 0.0
        running = [record for record in records if record]
        loss = sum(record["loss"] for record in running) / max(len(running), 1)
        metric = sum(record[self._metric] for record in running) / max(len(running), 1)
        self._tell(step, total, f"loss {loss:.4f}  {self._metric} {metric:.4f}  {speed:,.0f} steps/s")


def _nothing(*_: Any) -> None:
    pass


def _bar(name: str) -> tuple[Tell, End]:
    """A bar on a terminal."""
    columns = [TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[report]}"), TimeRemainingColumn()]
    bar = Bar(*columns, console=console, transient=True)
    task = bar.add_task(name, total=None, report="compiling")
    bar.start()

    def tell(step: int, total: int, report: str) -> None:
        bar.update(task, completed=step, total=total, report=report)

    return tell, bar.stop


def _cell(name: str) -> tuple[Tell, End]:
    """A bar in the cell of a notebook, by its own display: no widgets are needed."""
    from IPython.display import display

    handle = display({"text/plain": f"{name}: compiling"}, raw=True, display_id=True)

    def tell(step: int, total: int, report: str) -> None:
        text = _said(name, step, total, report)
        bar = f'<progress value="{step}" max="{total}"></progress> {escape(text)}'
        handle.update({"text/html": bar, "text/plain": text}, raw=True)

    return tell, lambda: handle.update({"text/html": "", "text/plain": ""}, raw=True)


def _lines(name: str) -> tuple[Tell, End]:
    """Lines where nobody sees a bar."""
    due = time.perf_counter() + FIRST

    def tell(step: int, total: int, report: str) -> None:
        nonlocal due
        if (now := time.perf_counter()) >= due:
            due = now + EVERY
            say(_said(name, step, total, report))

    return tell, _nothing


def _said(name: str, step: int, total: int, report: str) -> str:
    return f"{name}: step {step:,} of at most {total:,}  {report}"

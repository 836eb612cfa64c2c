"""What a person sees while a run trains, and how Ctrl-C ends it with nothing lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

console = Console(stderr=True)


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; not an Exception, so that nothing on the way up mistakes it for a failed run."""


_requested = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a request that `check` honours between blocks; the second one acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _requested.clear()

    def handle(number: int, frame: Any) -> None:
        if _requested.is_set():
            raise Interrupted
        _requested.set()
        console.print("[yellow]stopping after this block; press again to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted() -> bool:
    """Whether a stop was asked for."""
    return _requested.is_set()


class Progress:
    """A bar per gradient stage with loss, metric, steps per second and time left (nothing where not a terminal)."""

    def __init__(self, name: str, metric: str, shown: bool):
        columns = [
            TextColumn("{task.description}"),
            BarColumn(30),
            TextColumn("{task.fields[report]}"),
            TimeRemainingColumn(),
        ]
        self._bar = Bar(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task(name, total=None, report="compiling")
        self._metric = metric
        self._began: tuple[float, int] | None = None

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
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
        report = f"loss {loss:.4f}  {self._metric} {metric:.4f}  {speed:,.0f} steps/s"
        self._bar.update(self._task, completed=step, total=total, report=report)

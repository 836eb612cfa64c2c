"""A process that works for another one: it ends with it, stops when told to, and leaves Ctrl-C to it.

It knows nothing of what it runs, so that it keeps its promises before anything large is imported.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOOK = 0.5  # seconds between two looks at whether the parent lives
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_stopped, _busy = threading.Event(), threading.Event()


@contextmanager
def pool(workers: int) -> Iterator[Any]:
    """Joblib's executor of processes, which share the cores; where it is left by a stop, they save what they have."""
    from joblib import cpu_count
    from joblib.externals.loky import ProcessPoolExecutor

    each = str(max(1, cpu_count() // workers))
    env = {name: os.environ.get(name, each) for name in THREADS} | {"LOKY_MAX_CPU_COUNT": each}
    executor = ProcessPoolExecutor(workers, initializer=begin, initargs=(os.getpid(),), env=env)
    try:
        yield executor
        executor.shutdown()
    except (KeyboardInterrupt, GeneratorExit):
        for pid in list(executor._processes or ()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        executor.shutdown()
        raise
    finally:
        executor.shutdown(kill_workers=True)


def begin(parent: int) -> None:
    """The first thing that a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def _stop(number: int, frame: Any) -> None:
    _stopped.set()
    if _busy.is_set():
        raise KeyboardInterrupt


def work(run: Callable[[Any], None], given: Any) -> None:
    """Run something, and after a stop nothing more."""
    try:
        _busy.set()
        if not _stopped.is_set():
            run(given)
    except KeyboardInterrupt:
        _stopped.set()
    finally:
        _busy.clear()

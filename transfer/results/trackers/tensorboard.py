"""TensorBoard: an entry is a folder of events below FOLDER/tensorboard, written by its own package."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer.results.trackers.entry import Entry, Facts, Writer


@contextmanager
def session(place: Path) -> Iterator[Callable[[Entry, bool], Writer | None]]:
    """Begin entries in `place`/tensorboard, which `tensorboard --logdir` shows.

    Numbers that an entry ends with are scalars at its last step, words are texts; method, seed and hp are its hparams.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    def begin(entry: Entry, again: bool) -> Writer | None:
        folder = place / "tensorboard" / entry.path
        if folder.exists() and not again:
            return None
        file, last = EventFileWriter(str(folder)), 0

        def add(summary: Any, step: int) -> None:
            file.add_event(Event(wall_time=time.time(), step=step, summary=summary))

        def scalars(prefix: str, values: Facts, step: int) -> None:
            numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
            add(Summary(value=[Summary.Value(tag=prefix + name, simple_value=x) for name, x in numbers.items()]), step)

        def log(stage: str, step: int, values: Facts) -> None:
            nonlocal last
            last = max(last, step)
            scalars(f"{stage}/", values, step)

        def end(summary: Facts) -> None:
            scalars("", summary, last)
            for name, value in summary.items():
                if isinstance(value, str):
                    add(text_pb(name, value), last)
            file.close()

        if entry.kind == "run":
            hp = {f"hp.{name}": value for name, value in (entry.config["hp"] or {}).items()}
            add(hparams_pb({"method": entry.config["method"]["name"], "seed": entry.config["seed"], **hp}), 0)
        return Writer(log, end)

    yield begin

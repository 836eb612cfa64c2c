"""TensorBoard: an entry is a folder of events below FOLDER/tensorboard, written by its own package."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer.results.trackers.entry import Entry, Facts, Writer, stepped


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
        file = EventFileWriter(str(folder))

        def write(summary: Any, step: int) -> None:
            file.add_event(Event(wall_time=time.time(), step=step, summary=summary))

        def add(prefix: str, step: int, values: Facts) -> None:
            numbers = {prefix + name: value for name, value in values.items() if not isinstance(value, str)}
            write(Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in numbers.items()]), step)
            for name, value in values.items():
                if isinstance(value, str):
                    write(text_pb(prefix + name, value), step)

        if entry.kind == "run":
            hp = {f"hp.{name}": value for name, value in (entry.config["hp"] or {}).items()}
            write(hparams_pb({"method": entry.config["method"]["name"], "seed": entry.config["seed"], **hp}), 0)
        return stepped(add, lambda summary: file.close())

    yield begin

"""One command at a time in a folder: a lock that the system lets go of when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from transfer.errors import TransferError

LOCK = ".lock"
PATIENCE = 1.0  # seconds for a holder that was killed just now
_held: dict[Path, TextIO] = {}  # the locks of this process, by path


@contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Hold the locks of folders. Raises TransferError, which names the holder, where another process has one."""
    own: list[Path] = []
    try:
        for folder in folders:
            own += [path] if (path := hold(folder)) else []
        yield
    finally:
        for path in own:
            release(path)


def hold(folder: Path) -> Path | None:
    """Take the lock of a folder, made where it is not there, until `release`: its path, None where this process had it.

    Raises TransferError, which names the holder, where another process has it or that of a folder inside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / LOCK
    if path in _held:
        return None
    _held[path] = _taken(path)
    try:
        for inner in path.parent.glob(f"*/{LOCK}"):
            if inner.parent.resolve() / LOCK not in _held:  # a link may lead back here
                with _taken(inner):  # of a process that died
                    inner.unlink(missing_ok=True)
    except BaseException:
        release(path)
        raise
    return path


def release(path: Path | None = None) -> None:
    """Let go of one lock of this process, or of all."""
    for each in [path] if path else list(_held):
        each.unlink(missing_ok=True)
        _held.pop(each).close()


def _taken(path: Path) -> TextIO:
    """The open file of a lock that is now ours."""
    deadline = time.monotonic() + PATIENCE
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                with file:
                    holder = _holder(file)
                raise TransferError(f"{path.parent}: {holder}; wait for its end or give another folder") from None
            file.close()
            time.sleep(0.05)
            continue
        except OSError:  # some network file systems have none
            logging.getLogger(__name__).warning("%s: this file system has no locks", path.parent)
            return file
        if not _is(path, file):  # its holder has removed it meanwhile
            file.close()
            continue
        file.truncate(0)
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.write(json.dumps(note))
        file.flush()
        return file


def _is(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> str:
    """Who holds a lock, in words."""
    file.seek(0)
    try:
        note = json.loads(file.read(1000))
        return f"process {note['pid']} on {note['host']} works here since {note['since']}"
    except (ValueError, KeyError, TypeError):  # it writes its note just now
        return "another process works here"

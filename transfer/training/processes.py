"""One run over several processes (jax.distributed): they meet, agree on what only some of them know, and end together.

`processes=2` in the command says how many there are. Which one this is, and where number 0 is met, is said by the variables
TRANSFER_PROCESS and TRANSFER_COORDINATOR (HOST:PORT), or by SLURM. Every process reads the data and computes its share;
number 0 writes the run folder.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import numpy as np

from transfer.console import console
from transfer.errors import DISTRIBUTION, MachineError, TransferError
from transfer.training.accelerator import tell_compiler

WAIT = 120.0  # seconds for all processes to come
LEAVE = 60  # seconds for the others to end, once one has
LINE = 4096  # bytes of a greeting, at most

_met = threading.Event()  # set while this process has met the others and has not begun with them


class Place(NamedTuple):
    """Where a process stands among the others: the address of number 0, how many there are, and its own number."""

    host: str
    port: int
    processes: int
    number: int


def begin(words: Sequence[str]) -> list[str]:
    """The words of a command for this process, once it has met the others that `processes=` asks for.

    Raises TransferError, one line, where it is not said which process this is, or where not all give the same command, and
    MachineError where they do not meet.
    """
    given = [word.partition("=")[2] for word in words if word.startswith("processes=")]
    if not given or given[-1] == "1" or {"-m", "--multirun"} & set(words):  # which sweeps refuse
        return list(words)
    place = place_of(given[-1], os.environ)
    same = [word for word in words if not word.startswith("hydra.run.dir=")]
    meet(place, json.dumps([same, *map(version, (DISTRIBUTION, "jax"))]))
    tell_compiler()
    jax.distributed.initialize(f"{place.host}:{place.port}", place.processes, place.number, shutdown_timeout_seconds=LEAVE)
    _met.set()
    if place.number == 0:
        return list(words)
    console.quiet = True
    folder = tempfile.mkdtemp(prefix="transfer-process-")  # Hydra makes one, and only that of number 0 is to be kept
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [*same, f"hydra.run.dir={folder}"]


def place_of(count: str, environment: Mapping[str, str]) -> Place:
    """This process, from the variables of the environment. Raises TransferError where they do not say it."""
    if not count.isdecimal() or int(count) < 1:
        raise TransferError(f"processes={count}: give how many processes run together, such as processes=2")
    address, number = environment.get("TRANSFER_COORDINATOR"), environment.get("TRANSFER_PROCESS")
    if address is None and number is None and "SLURM_PROCID" in environment:
        number, tasks = environment["SLURM_PROCID"], environment.get("SLURM_STEP_NUM_TASKS") or environment["SLURM_NTASKS"]
        if tasks != count:
            raise TransferError(
                f"processes={count}, and srun has started {tasks}; write processes={tasks} or --ntasks={count}"
            )
        address = f"{_first_host(environment['SLURM_STEP_NODELIST'])}:{61000 + int(environment['SLURM_JOB_ID']) % 4096}"
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal() or not (number or "").isdecimal():
        raise TransferError(
            f"processes={count} needs TRANSFER_COORDINATOR=HOST:PORT, where number 0 runs, and TRANSFER_PROCESS=0 ... "
            f"{int(count) - 1} in the environment of each; srun says it by itself"
        )
    if int(number or 0) >= int(count):
        raise TransferError(
            f"TRANSFER_PROCESS={number}: with processes={count} they are numbered from 0 to {int(count) - 1}"
        )
    return Place(host, int(port), int(count), int(number or 0))


def _first_host(nodes: str) -> str:
    """The first of SLURM's list of nodes: node[07-09,12],other -> node07."""
    prefix, first = re.match(r"([^,\[]*)(?:\[([^,\-\]]*))?", nodes).groups()  # type: ignore[union-attr]
    return prefix + (first or "")


def meet(place: Place, command: str, wait: float = WAIT) -> None:
    """Wait until all are there, before JAX ends processes that are alone. command: what all have to have alike."""
    digest, until = hashlib.sha256(command.encode()).hexdigest(), time.monotonic() + wait
    if answer := (_receive if place.number == 0 else _greet)(place, digest, until):
        raise TransferError(answer)


def _receive(place: Place, digest: str, until: float) -> str:
    """Number 0 hears all others and answers all alike: what is wrong, or nothing."""
    there: dict[int, str] = {0: digest}
    with ExitStack() as open_ones:
        try:
            door = open_ones.enter_context(socket.create_server(("", place.port)))
        except OSError as error:
            raise MachineError(
                f"process 0 cannot listen at port {place.port}: {error.strerror}; take another port"
            ) from None
        heard = []
        while len(there) < place.processes:
            door.settimeout(max(0.01, until - time.monotonic()))
            try:
                one, _ = door.accept()
                one.settimeout(5.0)
                heard.append(open_ones.enter_context(one))
                greeting = json.loads(_line(one))
                there[int(greeting["number"])] = str(greeting["digest"])
            except TimeoutError:
                if time.monotonic() >= until:
                    missing = ", ".join(str(n) for n in range(place.processes) if n not in there)
                    raise MachineError(f"process {missing} has not come; start all of them at the same time") from None
            except (OSError, ValueError, KeyError, TypeError):  # somebody else
                continue
        others = [str(n) for n, theirs in sorted(there.items()) if theirs != digest]
        answer = ""
        if others:
            answer = f"process {', '.join(others)} has another command or version than process 0; give all the same words"
        for one in heard:
            with suppress(OSError):
                one.sendall(json.dumps(answer).encode() + b"\n")
                one.recv(1)  # until it has gone, so that the port is free
    return answer


def _greet(place: Place, digest: str, until: float) -> str:
    while True:
        try:
            with socket.create_connection((place.host, place.port), timeout=max(0.01, until - time.monotonic())) as one:
                one.sendall(json.dumps({"number": place.number, "digest": digest}).encode() + b"\n")
                return str(json.loads(_line(one)))
        except (OSError, ValueError) as error:
            if time.monotonic() >= until:
                raise MachineError(
                    f"process {place.number} finds no process 0 at {place.host}:{place.port} ({error}); start that too, or "
                    "write the right TRANSFER_COORDINATOR"
                ) from None
        time.sleep(0.2)


def _line(one: socket.socket) -> bytes:
    read = b""
    while not read.endswith(b"\n") and len(read) < LINE:
        if not (more := one.recv(LINE)):
            raise ConnectionError("it hung up")
        read += more
    return read


def several() -> bool:
    """Whether this is one process of several."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def everywhere(value: float) -> np.ndarray:
    """A number of each process, float64 [processes]; every process has to ask."""
    from jax.experimental import multihost_utils

    if not several():
        return np.array([value])
    raw = np.frombuffer(np.float64(value).tobytes(), np.uint8)  # JAX would make it a float32
    return np.frombuffer(np.asarray(multihost_utils.process_allgather(raw)).tobytes(), np.float64)


@contextmanager
def together(doing: str) -> Iterator[None]:
    """All processes get to the end of this, or none goes on. Raises MachineError where another one did not."""
    _met.clear()
    try:
        yield
    except BaseException:
        everywhere(0.0)
        raise
    if not (done := everywhere(1.0)).all():
        numbers = ", ".join(map(str, np.flatnonzero(done == 0)))
        raise MachineError(f"process {numbers} could not {doing}; see what it said")


def give_up() -> None:
    """Let go of the others, where this process has met them and will not begin with them."""
    if _met.is_set():
        with suppress(MachineError), together("begin"):
            raise MachineError("")


def told(facts: Any) -> Any:
    """The JSON values that number 0 has; every process has to ask."""
    if not several():
        return facts
    text = json.dumps(facts).encode()
    size = int(everywhere(float(len(text)))[0])
    return json.loads(np.asarray(of_first(np.frombuffer(text[:size].ljust(size), np.uint8))).tobytes())


def of_first(tree: Any) -> Any:
    """The arrays of number 0, in place of those that the others have in their form; every process has to ask."""
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree) if several() else tree


def check_same(text: str, what: str) -> None:
    """Raise TransferError where the processes have different texts."""
    numbers = everywhere(float(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)))
    if others := [str(i) for i, number in enumerate(numbers) if number != numbers[0]]:
        raise TransferError(f"process {', '.join(others)} has other {what} than process 0; give all processes the same")

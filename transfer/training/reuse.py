"""Memoisation of stages: results keyed by what goes into them, shared by the replicas, programs and processes of a sweep.

The key of a result is the hash of the compiled stage itself (its code, budget and the world's shapes), the world's
fingerprint, the seed, and the values of just those hp and earlier parameters that the stage reads. So the source stage of
two methods is one result where both describe the same computation, and no stage is fitted anew for an hp that it ignores.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer.console import Interrupted, interrupted
from transfer.data.interactions.world import at_inference
from transfer.errors import TransferError
from transfer.program import AnyWorld, Done, Fit, Params, Replicas, Task
from transfer.storage import trees
from transfer.training.rates import rates_of

WAIT = 0.2  # seconds between two looks at an entry that another process is working on


class _Read(Mapping[str, Any]):
    """A mapping that remembers which of its keys were read."""

    def __init__(self, values: Mapping[str, Any]):
        self._values, self.names = values, set[str]()

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]  # `name in mapping` asks too, and may be told no
        self.names.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def reads(stage: Fit, task: Task, world: AnyWorld, done: Done, replicas: Replicas) -> tuple[list[str], list[str]]:
    """The names of the earlier stages and of the hp that a stage reads, found by tracing its functions."""
    stages, numbers = set[str](), set[str]()

    def trace(world: AnyWorld, done: Done, key: jax.Array, hp: Mapping[str, jax.Array]) -> Any:
        before, hp = _Read(done), _Read(hp)
        params = stage.init(world, before, key)
        stage.optimizer(hp).init(params)
        batch, start = stage.batch(world, before, key), jnp.float32(0)
        every_loss = (stage.loss, *(turn.loss for turn in stage.turns))
        losses = [loss(params, before, batch, hp, key, start) for loss in every_loss]
        rates = [turn.rate(hp, start) for turn in stage.turns if turn.rate]
        rates += [hp[rate.by] for rate in rates_of(stage, params) if rate.by]
        after = _Read({**done, stage.name: params})
        metrics = task.evaluate(stage.scores(at_inference(world), after, hp), stage.heldout(world))
        watched = stage.watch(world, after, hp) if stage.watch else {}
        revised = stage.revised(world, after, hp) if stage.revised else {}
        stages.update(before.names | after.names - {stage.name})
        numbers.update(hp.names)
        return losses, rates, metrics, watched, revised

    done, (key, hp) = jax.eval_shape(lambda rows: jax.tree.map(lambda leaf: leaf[0], rows), (done, replicas))
    jax.eval_shape(trace, world, done, key, hp)
    return sorted(stages), sorted(numbers)


def keys(text: str, fingerprint: str, seeds: list[int], done: Done, hp: Mapping[str, jax.Array]) -> list[str]:
    """One key per replica: the stage's `text`, the world, and this replica's row of everything else."""
    hosts = jax.device_get((done, hp))
    leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(hosts)[0]]
    start = hashlib.sha256(f"{text}\n{fingerprint}".encode())
    result = []
    for i, seed in enumerate(seeds):
        digest = start.copy()
        digest.update(str(seed).encode())
        for path, leaf in leaves:
            digest.update(path.encode())
            digest.update(np.asarray(leaf[i], order="C").tobytes())
        result.append(digest.hexdigest()[:32])
    return result


@contextmanager
def claimed(folder: Path, names: list[str]) -> Iterator[None]:
    """Hold the entries of these names: another process that wants one waits, and finds it when it is there.

    The system lets go of them when a process dies. Raises Interrupted where a stop is asked for while waiting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for name in sorted(names):  # in one order, so that two processes never wait for each other
            file = held.enter_context((folder / f"{name}.lock").open("w"))
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if interrupted():
                        raise Interrupted from None
                    time.sleep(WAIT)
        yield


def load(folder: Path, name: str, shapes: Params) -> tuple[Params, list[dict[str, Any]]] | None:
    """Parameters (one replica) and records of an entry; None where there is none, or a damaged one."""
    path = folder / f"{name}.safetensors"
    try:
        return trees.load_tree(path, shapes), trees.load_facts(path)["records"]
    except TransferError:  # it is made again
        return None


def store(folder: Path, name: str, params: Params, records: list[dict[str, Any]]) -> None:
    trees.save_tree(folder / f"{name}.safetensors", params, {"records": records})
